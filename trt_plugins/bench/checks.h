// Every supported tactic against the operator in double: values, repeatability, CUDA-graph capture.
#pragma once

#include <cstdio>

#include "device_layer.h"

namespace s4op::bench {

struct CheckCount {
  int done = 0, failed = 0;
};

inline std::vector<Sizes> checkSizes(bool small) {
  std::vector<Sizes> all;
  const std::vector<int> lengths =
      small ? std::vector<int>{1, 2, 63, 65, 150, 427, 1025}
            : std::vector<int>{1, 2, 63, 64, 150, 256, 427, 1024, 1460, 4096, 16384, 20000};
  for (int length : lengths) {
    const bool shortOne = length <= 1460;
    all.push_back({1, shortOne ? 5 : 2, shortOne ? 3 : 1, length, 32});
    all.push_back({3, shortOne ? 4 : 2, 2, length, small ? 5 : 17});
  }
  return all;
}

// The same launch out of a CUDA graph; on a CPU plainly again.
inline void launchCaptured(Tactic tactic, const Problem& problem, const KeptSet& kept,
                           const Operands& operands) {
#ifdef __CUDACC__
  cudaStream_t stream;
  cudaGraph_t graph;
  cudaGraphExec_t executable;
  check(cudaStreamCreate(&stream), "stream");  // waits for what the null stream does
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), "begin of capture");
  check(launch(tactic, problem, kept, operands, stream), "captured launch");
  check(cudaStreamEndCapture(stream, &graph), "end of capture");
  check(cudaGraphInstantiate(&executable, graph, 0), "graph");
  check(cudaGraphLaunch(executable, stream), "graph launch");
  check(cudaStreamSynchronize(stream), "graph run");
  cudaGraphExecDestroy(executable);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
#else
  check(launch(tactic, problem, kept, operands, nullptr), "launch");
#endif
}

inline bool sameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// Pruned channels are copies (or their GELU, within rounding).
inline bool passedThrough(const HostLayer& layer, const std::vector<float>& x, const std::vector<float>& y,
                          bool gelu, Type type) {
  const Sizes& s = layer.sizes;
  const double tolerance = type == Type::kHalf ? 1e-3 : 1e-6;
  for (size_t i = 0; i < x.size(); ++i) {
    const auto channel = static_cast<int32_t>(i / s.length % s.channels);
    if (std::binary_search(layer.channels.begin(), layer.channels.end(), channel)) continue;
    const double expected = gelu ? geluOf(x[i]) : x[i];
    if (!(std::fabs(y[i] - expected) <= (gelu ? tolerance * (std::fabs(x[i]) + 1e-2) : 0))) return false;
  }
  return true;
}

// One variant on one problem; what is wrong, or nothing.
inline std::string checkOne(const Variant& variant, const HostLayer& layer, const std::vector<float>& x,
                            const std::vector<double>& wanted, bool gelu) {
  const Problem problem = problemOf(layer.sizes, variant.type, gelu);
  const KeptSet kept = keptSet(layer.channels.data(), problem.kept);
  DeviceLayer device(layer, x, variant.type, workspaceBytes(variant.tactic, problem));
  check(prepare(variant.tactic, problem), "prepare");
  check(launch(variant.tactic, problem, kept, device.operands(), nullptr), "launch");
  const std::vector<float> y = device.output();
  const double error = relativeError(layer, y, wanted, gelu);
  if (!(error <= variant.errorLimit)) return "relative RMS error " + std::to_string(error * 1e6) + "e-6";
  if (!passedThrough(layer, x, y, gelu, variant.type)) return "a pruned channel is not a copy";
  device.spoil();
  launchCaptured(variant.tactic, problem, kept, device.operands());
  if (!sameBits(y, device.output())) return "a captured launch gives other values";
  return "";
}

inline CheckCount runChecks(bool small, size_t sharedBytes) {
  CheckCount count;
  for (const Sizes& sizes : checkSizes(small)) {
    const HostLayer layer(sizes);
    for (Type type : {Type::kFloat, Type::kHalf}) {
      const std::vector<float> x = randomInput(sizes, type);
      const std::vector<double> wanted = reference(layer, x);
      for (const Variant& variant : kVariants) {
        for (bool gelu : {false, true}) {
          if (variant.type != type || !supports(variant.tactic, problemOf(sizes, type, gelu), sharedBytes))
            continue;
          const std::string wrong = checkOne(variant, layer, x, wanted, gelu);
          ++count.done;
          if (wrong.empty()) continue;
          ++count.failed;
          std::printf("WRONG: %s, %s%s: %s\n", variant.name, sizes.text().c_str(), gelu ? " gelu" : "",
                      wrong.c_str());
        }
      }
    }
  }
  return count;
}

}  // namespace s4op::bench
