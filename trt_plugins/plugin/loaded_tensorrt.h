// TensorRT as it is loaded in this process. The plugin does not link it: one library serves every
// release of a major version, and Python loads TensorRT out of the sight of dlsym(RTLD_DEFAULT).
#pragma once

#include <cstdint>

namespace s4op {

// The address of `name` in the loaded libnvinfer (or TensorRT-RTX), or null.
void* loadedTensorRtSymbol(const char* name) noexcept;

// Its major version: 10, 11, ...; 0 where none is loaded. TensorRT-RTX counts its own: 1.
int32_t loadedTensorRtMajor() noexcept;

}  // namespace s4op
