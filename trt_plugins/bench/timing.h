// Times on the GPU: bandwidth of memory, and what a launch takes with its operands in L2 or not.
#pragma once

#include <algorithm>
#include <cstdio>
#include <memory>

#include "device_layer.h"

namespace s4op::bench {

struct Device {
  std::string name;
  int multiprocessors, major, minor;
  size_t sharedBytes, l2Bytes;
  double clockHz;
};

inline Device presentDevice() {
  int count = 0;
  check(cudaGetDeviceCount(&count), "no CUDA device");
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, 0), "device properties");
  int kilohertz = 0;
  check(cudaDeviceGetAttribute(&kilohertz, cudaDevAttrClockRate, 0), "clock rate");
  return {properties.name,  properties.multiProcessorCount,    properties.major,
          properties.minor, properties.sharedMemPerBlockOptin, static_cast<size_t>(properties.l2CacheSize),
          kilohertz * 1e3};
}

// Dense half multiply-adds a clock and multiprocessor, NVIDIA's architecture papers; 0 if not listed.
inline double tensorOperations(const Device& device) {
  if (device.major == 9) return 2048;
  if (device.major == 8) return device.minor == 0 || device.minor == 7 ? 1024 : 512;
  return 0;
}

// A graph of launches, replayed: the processor's own time for a launch does not count.
class Replay {
 public:
  template <typename Enqueue>
  explicit Replay(Enqueue enqueue) {
    cudaGraph_t graph;
    check(cudaStreamCreate(&stream_), "stream");
    check(cudaEventCreate(&start_), "event");
    check(cudaEventCreate(&end_), "event");
    check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeGlobal), "begin of capture");
    enqueue(stream_);
    check(cudaStreamEndCapture(stream_, &graph), "end of capture");
    check(cudaGraphInstantiate(&graph_, graph, 0), "graph");
    check(cudaGraphDestroy(graph), "graph");
  }
  Replay(const Replay&) = delete;
  Replay& operator=(const Replay&) = delete;
  ~Replay() {
    cudaGraphExecDestroy(graph_);
    cudaEventDestroy(start_);
    cudaEventDestroy(end_);
    cudaStreamDestroy(stream_);
  }
  // Median seconds of `rounds` replays after two unmeasured ones.
  double seconds(int rounds) {
    std::vector<double> found;
    for (int round = -2; round < rounds; ++round) {
      float milliseconds = 0;
      check(cudaEventRecord(start_, stream_), "event");
      check(cudaGraphLaunch(graph_, stream_), "graph launch");
      check(cudaEventRecord(end_, stream_), "event");
      check(cudaEventSynchronize(end_), "graph run");
      check(cudaEventElapsedTime(&milliseconds, start_, end_), "elapsed time");
      if (round >= 0) found.push_back(milliseconds * 1e-3);
    }
    std::nth_element(found.begin(), found.begin() + rounds / 2, found.end());
    return found[rounds / 2];
  }

 private:
  cudaStream_t stream_;
  cudaEvent_t start_, end_;
  cudaGraphExec_t graph_;
};

__global__ void copyKernel(const float4* source, float4* target, size_t count) {
  const size_t stride = static_cast<size_t>(gridDim.x) * blockDim.x;
  for (size_t i = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += stride) {
    target[i] = source[i];
  }
}

// Bytes a second, read and written together, by a copy that L2 cannot hold.
inline double measuredBandwidth(const Device& device) {
  const size_t bytes = std::max<size_t>(64 << 20, device.l2Bytes * 4) / 16 * 16;
  Buffer source(bytes), target(bytes);
  source.fill(0, bytes);
  Replay replay([&](cudaStream_t stream) {
    copyKernel<<<static_cast<unsigned>(device.multiprocessors * 8), 256, 0, stream>>>(
        static_cast<const float4*>(source.data()), static_cast<float4*>(target.data()), bytes / 16);
    check(cudaPeekAtLastError(), "copy kernel");
  });
  return 2.0 * static_cast<double>(bytes) / replay.seconds(11);
}

struct Work {
  double bytes, operations;
  bool tensorCores;
};

// The least an algorithm moves and computes: every operand once; products of the tiles it needs.
inline Work leastWork(const Variant& variant, const Sizes& s) {
  const bool half = variant.type == Type::kHalf, fft = variant.tactic == Tactic::kFft;
  const bool scan = variant.tactic == Tactic::kScan || variant.tactic == Tactic::kScanTf32;
  const double rows = static_cast<double>(s.batch) * s.kept;
  const double all = static_cast<double>(s.batch) * s.channels * s.length;
  const double weights = scan ? s.kept * (16.0 * s.modes + 4.0 * 64) : s.kept * 4.0 * s.length;
  const double bytes = all * 2 * (half ? 2 : 4) + weights;
  if (fft) {  // a complex transform of P points: 5 P log2 P; two a row and one a channel
    const double points = std::exp2(std::ceil(std::log2(s.length)));
    return {bytes, 5 * points * std::log2(points) * (2 * rows + s.kept), false};
  }
  if (scan) return {bytes, rows * s.length * 2.0 * (64.0 / 2 + 4.0 * s.modes), true};  // T = 64
  return {bytes, rows * s.length * 2.0 * s.length / 2, true};
}

// Seconds under which no launch can be: memory or arithmetic, whichever is more.
inline double floorSeconds(const Variant& variant, const Sizes& sizes, const Device& device,
                           double bandwidth) {
  const Work work = leastWork(variant, sizes);
  const double tf32 = variant.type == Type::kFloat ? 0.5 : 1;
  const double perClock = work.tensorCores ? 2 * tensorOperations(device) * tf32 : 2 * 128;
  const double rate = perClock * device.multiprocessors * device.clockHz;
  return std::max(work.bytes / bandwidth, rate > 0 ? work.operations / rate : 0);
}

// Median seconds of one launch over `sets` operand sets in turn: one stays in L2, many do not.
inline double launchSeconds(const Variant& variant, const HostLayer& layer, int sets, int rounds) {
  const Problem problem = problemOf(layer.sizes, variant.type, true);
  const KeptSet kept = keptSet(layer.channels.data(), problem.kept);
  const std::vector<float> x = randomInput(layer.sizes, variant.type);
  check(prepare(variant.tactic, problem), "prepare");
  std::vector<std::unique_ptr<DeviceLayer>> devices;
  for (int i = 0; i < sets; ++i) {
    devices.push_back(
        std::make_unique<DeviceLayer>(layer, x, variant.type, workspaceBytes(variant.tactic, problem)));
  }
  const int launches = std::max(sets, 20);
  Replay replay([&](cudaStream_t stream) {
    for (int i = 0; i < launches; ++i) {
      check(launch(variant.tactic, problem, kept, devices[i % sets]->operands(), stream), "launch");
    }
  });
  return replay.seconds(rounds) / launches;
}

// Operand sets that together are three times L2, so that each is gone when its turn comes again. At most 512
// (allocating more takes longer than measuring them): problems under 0.6 % of L2 may stay in it.
inline int coldSets(const Variant& variant, const Sizes& sizes, const Device& device) {
  const double wanted = 3.0 * static_cast<double>(device.l2Bytes) / leastWork(variant, sizes).bytes;
  return 1 + static_cast<int>(std::min(wanted, 511.0));
}

}  // namespace s4op::bench
