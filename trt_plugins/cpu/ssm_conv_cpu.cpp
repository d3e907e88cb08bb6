// The kernels on a CPU behind a C interface, for tests and for machines without a GPU.
// Built with the kernels' .cu files as plain C++: see build.sh.
#include "../kernels/ssm_conv.h"

#include <vector>

using namespace s4op;

extern "C" {

// Dimensions: batch, channels, kept, length, taps, modes, type, gelu (all int32).
static Problem problemOf(const int32_t* v) {
  return {v[0], v[1], v[2], v[3], v[4], v[5], static_cast<Type>(v[6]), v[7] != 0};
}

int32_t s4op_supports(int32_t tactic, const int32_t* problem, int64_t sharedBytes) {
  return supports(static_cast<Tactic>(tactic), problemOf(problem), static_cast<size_t>(sharedBytes)) ? 1 : 0;
}

int64_t s4op_workspace_bytes(int32_t tactic, const int32_t* problem) {
  return static_cast<int64_t>(workspaceBytes(static_cast<Tactic>(tactic), problemOf(problem)));
}

// Runs the operator; `reversed` turns the order of blocks, threads and warps around. Returns 0, or the
// launch's error, or -1 if the kernel wrote behind its workspace.
int32_t s4op_run(int32_t tactic, const int32_t* problem, const int32_t* channels, const void* x,
                 const float* k, const float* d, const float* poles, const float* residues, void* y,
                 int32_t reversed) {
  constexpr unsigned char kGuard = 0xa5;
  const Problem p = problemOf(problem);
  const auto chosen = static_cast<Tactic>(tactic);
  const size_t bytes = workspaceBytes(chosen, p);
  std::vector<unsigned char> workspace(bytes + 512, kGuard);
  const size_t skip = 256 - reinterpret_cast<size_t>(workspace.data()) % 256;  // 1 to 256
  CpuOrder::reversed() = reversed != 0;
  const KeptSet kept = keptSet(channels, p.kept);
  int status = prepare(chosen, p);
  if (status == 0)
    status = launch(chosen, p, kept, {x, k, d, poles, residues, y, workspace.data() + skip}, nullptr);
  for (size_t i = 0; i < skip; ++i) {
    if (workspace[i] != kGuard) return -1;
  }
  for (size_t i = skip + bytes; i < workspace.size(); ++i) {
    if (workspace[i] != kGuard) return -1;
  }
  return status;
}

}  // extern "C"
