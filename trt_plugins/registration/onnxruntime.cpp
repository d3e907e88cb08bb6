// Loaded by ONNX Runtime's TensorRT provider (option trt_extra_plugin_lib_paths), which only dlopens a
// plugin library: registers what libs4op_ssm_conv.so offers with the TensorRT loaded in this process.
#include "../plugin/loaded_tensorrt.h"

#include <NvInferRuntime.h>

#include <cstdio>

extern "C" nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count);

namespace {

// Null, or why not. The registry's table of functions differs between major versions, so only the
// version of the headers is called.
const char* registerAll() {
  if (s4op::loadedTensorRtMajor() != NV_TENSORRT_MAJOR) {
    return "the TensorRT this was built for is not loaded in this process";
  }
  const auto registryOf =
      reinterpret_cast<nvinfer1::IPluginRegistry* (*)()>(s4op::loadedTensorRtSymbol("getPluginRegistry"));
  nvinfer1::IPluginRegistry* registry = registryOf == nullptr ? nullptr : registryOf();
  if (registry == nullptr) return "TensorRT has no plugin registry";
  int32_t count = 0;
  nvinfer1::IPluginCreatorInterface* const* creators = getCreators(count);
  for (int32_t i = 0; i < count; ++i) {
    // Namespace "": TensorRT's parser looks for the node's plugin_namespace, which is empty.
    if (!registry->registerCreator(*creators[i], "")) return "TensorRT's registry refuses the plugin";
  }
  return nullptr;
}

__attribute__((constructor)) void onLoad() {
  const char* error = registerAll();
  if (error != nullptr) std::fprintf(stderr, "SSMConv: not registered: %s\n", error);
}

}  // namespace
