#include "cuda_device.h"

#ifdef __CUDACC__
#include <cuda_runtime_api.h>
#endif

namespace s4op {

namespace {

constexpr size_t kOrinSharedBytes = 163 * 1024;

}  // namespace

#ifdef __CUDACC__

size_t sharedBytesPerBlock() noexcept {
  int device = 0, bytes = 0;
  cudaError_t status = cudaGetDevice(&device);
  if (status == cudaSuccess)
    status = cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  if (status == cudaSuccess) return static_cast<size_t>(bytes);
  cudaGetLastError();  // or the next launch would find it
  return kOrinSharedBytes;
}

std::string statusText(int status) {
  return std::string(cudaGetErrorString(static_cast<cudaError_t>(status))) + " (CUDA error " +
         std::to_string(status) + ")";
}

#else

size_t sharedBytesPerBlock() noexcept { return kOrinSharedBytes; }

std::string statusText(int status) { return "status " + std::to_string(status); }

#endif

}  // namespace s4op
