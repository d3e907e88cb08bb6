#include "ssm_conv_creator.h"

#include "errors.h"
#include "ssm_conv_plugin.h"

namespace s4op {

nvinfer1::IPluginV3* SsmConvCreator::createPlugin(const char* name,
                                                  const nvinfer1::PluginFieldCollection* fields,
                                                  nvinfer1::TensorRTPhase phase) noexcept {
  return guarded<nvinfer1::IPluginV3*>(name == nullptr ? "" : name, nullptr, nullptr, [&] {
    return new SsmConvPlugin(parseAttributes(fields, phase), name == nullptr ? "" : name);
  });
}

const nvinfer1::PluginFieldCollection* SsmConvCreator::getFieldNames() noexcept {
  using nvinfer1::PluginFieldType;
  static const nvinfer1::PluginField fields[] = {{kPluginVersion, nullptr, PluginFieldType::kCHAR, 0},
                                                 {kPluginNamespace, nullptr, PluginFieldType::kCHAR, 0},
                                                 {kChannels, nullptr, PluginFieldType::kINT32, 0},
                                                 {kNumChannels, nullptr, PluginFieldType::kINT32, 1},
                                                 {kGelu, nullptr, PluginFieldType::kINT32, 1}};
  static const nvinfer1::PluginFieldCollection collection{static_cast<int32_t>(std::size(fields)), fields};
  return &collection;
}

SsmConvCreator& creator() noexcept {
  static SsmConvCreator instance;
  return instance;
}

}  // namespace s4op
