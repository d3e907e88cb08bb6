// SSMConv's names, and its attributes as TensorRT hands them over. The same names stand in
// edge_s4op/op.py; a test compares the two.
#pragma once

#include <NvInferRuntime.h>

#include <cstdint>
#include <string>
#include <vector>

namespace s4op {

constexpr char kName[] = "SSMConv";
constexpr char kVersion[] = "1";
constexpr char kNamespace[] = "";

// Attributes of the ONNX node.
constexpr char kPluginVersion[] = "plugin_version";
constexpr char kPluginNamespace[] = "plugin_namespace";
constexpr char kChannels[] = "channels";
constexpr char kNumChannels[] = "num_channels";
constexpr char kGelu[] = "gelu";
// In engines only.
constexpr char kAllowTf32[] = "allow_tf32";
constexpr char kKernelBuild[] = "kernel_build";

constexpr const char* kInputs[] = {"x", "k", "d"};
constexpr const char* kStateInputsS4d[] = {"poles", "residues"};
constexpr const char* kStateInputsS4[] = {"a", "b", "c"};

// "1" while an engine is built: offer TensorRT the TF32 tactics too. A plugin cannot see the builder's
// own TF32 flag. The answer becomes part of the engine; running one does not look here.
constexpr char kAllowTf32Variable[] = "S4OP_ALLOW_TF32";

struct Attributes {
  std::vector<int32_t> channels;  // kept, ascending, within [0, numChannels)
  int32_t numChannels = 0;        // H
  bool gelu = false;
  bool allowTf32 = false;
};

// Hash of the kernels' source and of what compiled them.
const char* kernelBuild() noexcept;

// The attributes in `fields`, checked. Throws PluginError naming the field, what was expected and found.
// Integers may come as int32 or int64. In the runtime phase the fields are those of an engine, and must
// come from this very build of the kernels: another one may need another workspace.
Attributes parseAttributes(const nvinfer1::PluginFieldCollection* fields, nvinfer1::TensorRTPhase phase);

// The attributes as the fields of an engine. They point into this object.
class SerializedAttributes {
 public:
  explicit SerializedAttributes(const Attributes& attributes);
  SerializedAttributes(const SerializedAttributes&) = delete;
  SerializedAttributes& operator=(const SerializedAttributes&) = delete;
  const nvinfer1::PluginFieldCollection* collection() const { return &collection_; }

 private:
  std::vector<int32_t> channels_;
  int32_t numChannels_, gelu_, allowTf32_;
  std::vector<nvinfer1::PluginField> fields_;
  nvinfer1::PluginFieldCollection collection_;
};

}  // namespace s4op
