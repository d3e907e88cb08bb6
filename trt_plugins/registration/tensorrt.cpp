// What TensorRT looks for in a plugin library (IPluginRegistry::loadLibrary). Nothing else is exported:
// see exports.map.
#include "../plugin/errors.h"
#include "../plugin/loaded_tensorrt.h"
#include "../plugin/ssm_conv_creator.h"

#define S4OP_EXPORT extern "C" __attribute__((visibility("default")))

S4OP_EXPORT void setLoggerFinder(nvinfer1::ILoggerFinder* finder) { s4op::setFinder(finder); }

S4OP_EXPORT nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count) {
  static nvinfer1::IPluginCreatorInterface* const creators[] = {&s4op::creator()};
  const int32_t major = s4op::loadedTensorRtMajor();
  const bool fits = major < 10 || major == NV_TENSORRT_MAJOR;  // below 10: none, or TensorRT-RTX
  if (!fits)
    s4op::reportError("", "built for another major version of TensorRT than the loaded one", nullptr);
  count = fits ? 1 : 0;
  return creators;
}
