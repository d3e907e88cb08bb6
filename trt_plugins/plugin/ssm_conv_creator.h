// Makes SSMConv plugins from attributes, for TensorRT's registry.
#pragma once

#include "attributes.h"

namespace s4op {

class SsmConvCreator final : public nvinfer1::IPluginCreatorV3One {
 public:
  // Null, and a message to TensorRT's logger, when an attribute is wrong.
  nvinfer1::IPluginV3* createPlugin(const char* name, const nvinfer1::PluginFieldCollection* fields,
                                    nvinfer1::TensorRTPhase phase) noexcept override;
  // The attributes TensorRT's parser passes on.
  const nvinfer1::PluginFieldCollection* getFieldNames() noexcept override;
  const char* getPluginName() const noexcept override { return kName; }
  const char* getPluginVersion() const noexcept override { return kVersion; }
  const char* getPluginNamespace() const noexcept override { return kNamespace; }
};

// The one creator of the library.
SsmConvCreator& creator() noexcept;

}  // namespace s4op
