#include "loaded_tensorrt.h"

#include <cstring>
#include <dlfcn.h>
#include <link.h>

namespace s4op {

namespace {

constexpr const char* kLibraries[] = {"libnvinfer.so", "libtensorrt_rtx.so"};

bool isTensorRt(const char* path) {
  const char* slash = std::strrchr(path, '/');
  const char* file = slash == nullptr ? path : slash + 1;
  for (const char* library : kLibraries) {
    const size_t length = std::strlen(library);  // behind it: nothing, or ".10"
    if (std::strncmp(file, library, length) == 0 && (file[length] == '\0' || file[length] == '.'))
      return true;
  }
  return false;
}

int remember(dl_phdr_info* info, size_t, void* path) {
  if (info->dlpi_name == nullptr || !isTensorRt(info->dlpi_name)) return 0;
  *static_cast<const char**>(path) = info->dlpi_name;
  return 1;
}

}  // namespace

void* loadedTensorRtSymbol(const char* name) noexcept {
  const char* path = nullptr;
  dl_iterate_phdr(remember, &path);
  if (path == nullptr) return nullptr;
  void* handle = dlopen(path, RTLD_LAZY | RTLD_NOLOAD);
  if (handle == nullptr) return nullptr;
  void* symbol = dlsym(handle, name);
  dlclose(handle);  // gives back the count of this dlopen; the library stays
  return symbol;
}

int32_t loadedTensorRtMajor() noexcept {
  const auto version = reinterpret_cast<int32_t (*)()>(loadedTensorRtSymbol("getInferLibVersion"));
  return version == nullptr ? 0 : version() / 10000;  // 100302 is 10.3.2
}

}  // namespace s4op
