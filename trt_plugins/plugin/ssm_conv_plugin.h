// SSMConv as a TensorRT plugin: thin glue between IPluginV3 and the kernels.
#pragma once

#include "../kernels/ssm_conv.h"
#include "attributes.h"

#include <memory>
#include <optional>

namespace s4op {

// TensorRT may call setTactic and onShapeChange in either order and again; whichever comes last makes
// the kernels ready, so that enqueue does nothing but launch. Every method reports its errors and
// returns nonzero (or null); none throws.
class SsmConvPlugin final : public nvinfer1::IPluginV3,
                            public nvinfer1::IPluginV3OneCore,
                            public nvinfer1::IPluginV3OneBuild,
                            public nvinfer1::IPluginV3OneRuntime {
 public:
  // `layer` names the layer in messages. Throws std::bad_alloc.
  SsmConvPlugin(Attributes attributes, std::string layer);
  SsmConvPlugin(const SsmConvPlugin& other);
  SsmConvPlugin& operator=(const SsmConvPlugin&) = delete;

  nvinfer1::IPluginCapability* getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept override;
  nvinfer1::IPluginV3* clone() noexcept override;

  const char* getPluginName() const noexcept override { return kName; }
  const char* getPluginVersion() const noexcept override { return kVersion; }
  const char* getPluginNamespace() const noexcept override { return kNamespace; }

  int32_t getNbOutputs() const noexcept override { return 1; }
  int32_t getOutputDataTypes(nvinfer1::DataType* outputTypes, int32_t nbOutputs,
                             const nvinfer1::DataType* inputTypes, int32_t nbInputs) const noexcept override;
  int32_t getOutputShapes(const nvinfer1::DimsExprs* inputs, int32_t nbInputs,
                          const nvinfer1::DimsExprs* shapeInputs, int32_t nbShapeInputs,
                          nvinfer1::DimsExprs* outputs, int32_t nbOutputs,
                          nvinfer1::IExprBuilder& exprBuilder) noexcept override;
  bool supportsFormatCombination(int32_t pos, const nvinfer1::DynamicPluginTensorDesc* inOut,
                                 int32_t nbInputs, int32_t nbOutputs) noexcept override;
  int32_t configurePlugin(const nvinfer1::DynamicPluginTensorDesc* in, int32_t nbInputs,
                          const nvinfer1::DynamicPluginTensorDesc* out, int32_t nbOutputs) noexcept override;
  size_t getWorkspaceSize(const nvinfer1::DynamicPluginTensorDesc* inputs, int32_t nbInputs,
                          const nvinfer1::DynamicPluginTensorDesc* outputs,
                          int32_t nbOutputs) const noexcept override;
  int32_t getNbTactics() noexcept override { return static_cast<int32_t>(tactics_.size()); }
  int32_t getValidTactics(int32_t* tactics, int32_t nbTactics) noexcept override;
  const char* getTimingCacheID() noexcept override { return identity_.c_str(); }
  const char* getMetadataString() noexcept override { return identity_.c_str(); }

  int32_t setTactic(int32_t tactic) noexcept override;
  int32_t onShapeChange(const nvinfer1::PluginTensorDesc* in, int32_t nbInputs,
                        const nvinfer1::PluginTensorDesc* out, int32_t nbOutputs) noexcept override;
  int32_t enqueue(const nvinfer1::PluginTensorDesc* inputDesc, const nvinfer1::PluginTensorDesc* outputDesc,
                  const void* const* inputs, void* const* outputs, void* workspace,
                  cudaStream_t stream) noexcept override;
  nvinfer1::IPluginV3* attachToContext(nvinfer1::IPluginResourceContext* context) noexcept override;
  const nvinfer1::PluginFieldCollection* getFieldsToSerialize() noexcept override;

 private:
  // The problems at a profile's smallest, best and largest shapes; throws PluginError if one is wrong.
  std::vector<Problem> problemsOf(const nvinfer1::DynamicPluginTensorDesc* in, int32_t nbInputs) const;
  // Tactics that can do all of `problems`.
  std::vector<Tactic> tacticsFor(const std::vector<Problem>& problems) const;
  void checkTactic(Tactic tactic) const;
  // Prepares the tactic for the problem once both are known and fit.
  void prepareIfKnown();
  void checkReady(const nvinfer1::PluginTensorDesc& x) const;

  Attributes attributes_;
  std::string layer_;
  KeptSet kept_;
  std::string identity_;
  std::unique_ptr<SerializedAttributes> serialized_;
  size_t sharedBytes_;  // of the device the plugin was made on
  nvinfer1::IErrorRecorder* recorder_ = nullptr;
  std::vector<Tactic> tactics_;     // what configurePlugin found
  Tactic tactic_ = Tactic::kFft;    // exact, any length: what runs where TensorRT chooses none
  std::optional<Problem> problem_;  // what onShapeChange was told
  bool ready_ = false;
};

}  // namespace s4op
