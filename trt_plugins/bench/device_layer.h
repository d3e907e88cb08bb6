// A layer's operands on the device. Compiled without CUDA the device is the CPU.
#pragma once

#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>

#include "host_layer.h"

namespace s4op::bench {

inline void check(int status, const std::string& what) {
  if (status == 0) return;
#ifdef __CUDACC__
  throw std::runtime_error(what + ": " + cudaGetErrorString(static_cast<cudaError_t>(status)));
#else
  throw std::runtime_error(what + ": error " + std::to_string(status));
#endif
}

class Buffer {
 public:
  explicit Buffer(size_t bytes) {
    const size_t whole = (bytes / 256 + 1) * 256;
#ifdef __CUDACC__
    check(cudaMalloc(&data_, whole), "cudaMalloc of " + std::to_string(whole) + " bytes");
#else
    data_ = std::aligned_alloc(256, whole);
    if (data_ == nullptr) throw std::bad_alloc();
#endif
  }
  Buffer(Buffer&& other) noexcept : data_(std::exchange(other.data_, nullptr)) {}
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() {
#ifdef __CUDACC__
    cudaFree(data_);
#else
    std::free(data_);
#endif
  }
  template <typename T>
  void put(const std::vector<T>& values) {
    const size_t bytes = values.size() * sizeof(T);
#ifdef __CUDACC__
    check(cudaMemcpy(data_, values.data(), bytes, cudaMemcpyHostToDevice), "copy to the device");
#else
    std::memcpy(data_, values.data(), bytes);
#endif
  }
  template <typename T>
  std::vector<T> get(size_t count) const {
    std::vector<T> values(count);
#ifdef __CUDACC__
    check(cudaMemcpy(values.data(), data_, count * sizeof(T), cudaMemcpyDeviceToHost),
          "copy from the device");
#else
    std::memcpy(values.data(), data_, count * sizeof(T));
#endif
    return values;
  }
  void fill(int byte, size_t bytes) {
#ifdef __CUDACC__
    check(cudaMemset(data_, byte, bytes), "memset");
#else
    std::memset(data_, byte, bytes);
#endif
  }
  void* data() const { return data_; }

 private:
  void* data_ = nullptr;
};

// Input, weights, output and workspace of one problem.
class DeviceLayer {
 public:
  DeviceLayer(const HostLayer& layer, const std::vector<float>& x, Type type, size_t workspaceBytes)
      : type_(type), count_(x.size()), x_(bytes()), y_(bytes()), k_(layer.k.size() * 4),
        d_(layer.d.size() * 4), poles_(layer.poles.size() * 4), residues_(layer.residues.size() * 4),
        workspace_(workspaceBytes) {
    putInput(x);
    k_.put(layer.k);
    d_.put(layer.d);
    poles_.put(layer.poles);
    residues_.put(layer.residues);
    spoil();
    workspace_.fill(0xff, workspaceBytes);
  }
  Operands operands() const {
    const auto floats = [](const Buffer& buffer) { return static_cast<const float*>(buffer.data()); };
    return {x_.data(),         floats(k_), floats(d_),       floats(poles_),
            floats(residues_), y_.data(),  workspace_.data()};
  }
  // Fill y with NaN: what a launch leaves out shows.
  void spoil() { y_.fill(0xff, bytes()); }
  std::vector<float> output() const {
    if (type_ == Type::kFloat) return y_.get<float>(count_);
    std::vector<float> y;
    for (const Half& value : y_.get<Half>(count_)) y.push_back(floatOf(value));
    return y;
  }

 private:
  size_t bytes() const { return count_ * (type_ == Type::kHalf ? 2 : 4); }
  void putInput(const std::vector<float>& x) {
    if (type_ == Type::kFloat) return x_.put(x);
    std::vector<Half> halves;
    for (float value : x) halves.push_back(halfOf(value));
    x_.put(halves);
  }

  Type type_;
  size_t count_;
  Buffer x_, y_, k_, d_, poles_, residues_, workspace_;
};

inline Problem problemOf(const Sizes& s, Type type, bool gelu) {
  return {s.batch, s.channels, s.kept, s.length, s.length, s.modes, type, gelu};
}

struct Variant {
  Tactic tactic;
  Type type;
  const char* name;
  double errorLimit;  // relative RMS
};

constexpr Variant kVariants[] = {
    {Tactic::kFft, Type::kFloat, "fft fp32", 5e-7},
    {Tactic::kFft, Type::kHalf, "fft fp16", 5e-4},
    {Tactic::kScan, Type::kHalf, "scan fp16", 1e-3},
    {Tactic::kToeplitz, Type::kHalf, "toeplitz fp16", 1e-3},
    {Tactic::kScanTf32, Type::kFloat, "scan tf32", 1e-3},
    {Tactic::kToeplitzTf32, Type::kFloat, "toeplitz tf32", 1e-3},
};

}  // namespace s4op::bench
