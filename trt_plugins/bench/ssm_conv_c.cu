// The kernels on a GPU behind a C interface, for callers that own the memory and the stream (PyTorch).
// Pointers are device memory, `stream` a cudaStream_t. Dimensions as in cpu/ssm_conv_cpu.cpp.
#include "../kernels/ssm_conv.h"

using namespace s4op;

namespace {

Problem problemOf(const int32_t* v) {
  return {v[0], v[1], v[2], v[3], v[4], v[5], static_cast<Type>(v[6]), v[7] != 0};
}

}  // namespace

extern "C" {

// Shared memory a block of the current device may have, or a negative cudaError_t.
int64_t s4op_shared_bytes() {
  int device = 0, bytes = 0;
  cudaError_t status = cudaGetDevice(&device);
  if (status == cudaSuccess)
    status = cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  return status == cudaSuccess ? bytes : -static_cast<int64_t>(status);
}

int32_t s4op_supports(int32_t tactic, const int32_t* problem, int64_t sharedBytes) {
  return supports(static_cast<Tactic>(tactic), problemOf(problem), static_cast<size_t>(sharedBytes)) ? 1 : 0;
}

int64_t s4op_workspace_bytes(int32_t tactic, const int32_t* problem) {
  return static_cast<int64_t>(workspaceBytes(static_cast<Tactic>(tactic), problemOf(problem)));
}

// Once a problem, not while a stream is captured. 0 or a cudaError_t.
int32_t s4op_prepare(int32_t tactic, const int32_t* problem) {
  return prepare(static_cast<Tactic>(tactic), problemOf(problem));
}

// Only launches. `channels` is host memory and read before the return. 0 or a cudaError_t.
int32_t s4op_launch(int32_t tactic, const int32_t* problem, const int32_t* channels, const void* x,
                    const float* k, const float* d, const float* poles, const float* residues, void* y,
                    void* workspace, void* stream) {
  const Problem p = problemOf(problem);
  return launch(static_cast<Tactic>(tactic), p, keptSet(channels, p.kept),
                {x, k, d, poles, residues, y, workspace}, static_cast<Stream>(stream));
}

}  // extern "C"
