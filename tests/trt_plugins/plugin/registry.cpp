// A stand-in for libnvinfer that has nothing but a plugin registry, for registration/onnxruntime.cpp:
// TensorRT itself is not to be had without its installer.
#include <NvInferRuntime.h>

#include <string>

using namespace nvinfer1;

namespace {

class Registry final : public IPluginRegistry {
 public:
  bool registerCreator(IPluginCreatorInterface& creator, const AsciiChar* pluginNamespace) noexcept override {
    auto& one = static_cast<IPluginCreatorV3One&>(creator);
    seen += std::string(one.getPluginName()) + " " + one.getPluginVersion() + " '" + pluginNamespace + "'\n";
    return true;
  }
  void setErrorRecorder(IErrorRecorder*) noexcept override {}
  IErrorRecorder* getErrorRecorder() const noexcept override { return nullptr; }
  bool isParentSearchEnabled() const override { return false; }
  void setParentSearchEnabled(bool) override {}
  PluginLibraryHandle loadLibrary(const AsciiChar*) noexcept override { return nullptr; }
  void deregisterLibrary(PluginLibraryHandle) noexcept override {}
  IPluginCreatorInterface* const* getAllCreators(int32_t* count) const noexcept override {
    *count = 0;
    return nullptr;
  }
  IPluginCreatorInterface* getCreator(const AsciiChar*, const AsciiChar*,
                                      const AsciiChar*) noexcept override {
    return nullptr;
  }
  bool deregisterCreator(const IPluginCreatorInterface&) noexcept override { return false; }
  IPluginResource* acquirePluginResource(const AsciiChar*, IPluginResource*) noexcept override {
    return nullptr;
  }
  int32_t releasePluginResource(const AsciiChar*) noexcept override { return 1; }
  IPluginCreatorInterface* const* getAllCreatorsRecursive(int32_t* count) noexcept {  // since 10.10
    return getAllCreators(count);
  }
#if NV_TENSORRT_MAJOR == 10
  bool registerCreator(IPluginCreator&, const AsciiChar*) noexcept override { return false; }
  IPluginCreator* const* getPluginCreatorList(int32_t*) const noexcept override { return nullptr; }
  IPluginCreator* getPluginCreator(const AsciiChar*, const AsciiChar*, const AsciiChar*) noexcept override {
    return nullptr;
  }
  bool deregisterCreator(const IPluginCreator&) noexcept override { return false; }
#endif
  std::string seen;
};

Registry& registry() {
  static Registry instance;
  return instance;
}

}  // namespace

extern "C" IPluginRegistry* getPluginRegistry() noexcept { return &registry(); }
extern "C" int32_t getInferLibVersion() noexcept { return VERSION; }
extern "C" ILogger* getLogger() noexcept { return nullptr; }
extern "C" const char* seen() { return registry().seen.c_str(); }
