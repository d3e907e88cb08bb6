// One kernel source for GPU and CPU.
//
// A kernel is a struct: kThreads (threads a block), Args (plain data, passed by value) and
// block(Block&, const Args&), written as phases. A phase is a lambda that every thread (or every warp)
// of the block runs, with a barrier behind it. On a GPU the phases run in parallel; on a CPU (any C++17
// compiler, no CUDA) they are loops over the threads, forwards or backwards, so that a result that
// depends on the order of threads within a phase shows.
//
// Rules: between barriers no thread reads what another one writes; values a thread keeps from phase to
// phase live in Private; matrix tiles are touched in forWarps alone.
#pragma once

#include <cstddef>
#include <cstdint>

#ifdef __CUDACC__
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>
#define S4OP_DEVICE __device__ __forceinline__
#define S4OP_UNROLL _Pragma("unroll")
#define S4OP_ROLL _Pragma("unroll 1")
#else
#include <cmath>
#include <cstring>
#include <vector>
#define S4OP_DEVICE inline
#define S4OP_UNROLL
#define S4OP_ROLL
#endif

namespace s4op {

constexpr int kWarp = 32;

#ifdef __CUDACC__

using Half = __half;
using Stream = cudaStream_t;

S4OP_DEVICE float toFloat(float value) { return value; }
S4OP_DEVICE float toFloat(Half value) { return __half2float(value); }
template <typename T> S4OP_DEVICE T fromFloat(float value);
template <> S4OP_DEVICE float fromFloat<float>(float value) { return value; }
template <> S4OP_DEVICE Half fromFloat<Half>(float value) { return __float2half_rn(value); }

// (cos, sin) of pi x.
S4OP_DEVICE void cosSinPi(float x, float& cosine, float& sine) { sincospif(x, &sine, &cosine); }
S4OP_DEVICE int popcount(uint32_t bits) { return __popc(bits); }
// 2^x to 2 units in the last place, for normal results.
S4OP_DEVICE float exp2Fast(float x) {
  float value;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(value) : "f"(x));
  return value;
}

class Block {
 public:
  S4OP_DEVICE explicit Block(char* shared) : shared_(shared) {}
  S4OP_DEVICE int x() const { return static_cast<int>(blockIdx.x); }
  S4OP_DEVICE int y() const { return static_cast<int>(blockIdx.y); }
  S4OP_DEVICE int threads() const { return static_cast<int>(blockDim.x); }
  // The block's shared memory from `offset` bytes on; at least 16-byte aligned if offset is.
  template <typename T> S4OP_DEVICE T* shared(size_t offset = 0) const {
    return reinterpret_cast<T*>(shared_ + offset);
  }
  // Every thread runs body(thread); barrier behind.
  template <typename Body> S4OP_DEVICE void forThreads(Body body) const {
    body(static_cast<int>(threadIdx.x));
    __syncthreads();
  }
  // Every warp runs body(warp), its lanes together; barrier behind.
  template <typename Body> S4OP_DEVICE void forWarps(Body body) const {
    body(static_cast<int>(threadIdx.x) / kWarp);
    __syncthreads();
  }

 private:
  char* shared_;
};

// A value that every thread keeps for itself from phase to phase.
template <typename T> class Private {
 public:
  S4OP_DEVICE explicit Private(const Block&) {}
  S4OP_DEVICE T& operator[](int) { return value_; }

 private:
  T value_;
};

// Kernel::kBlocks, where there is one: blocks a multiprocessor has registers for at least.
template <typename Kernel, typename = void> struct Resident {
  static constexpr int kBlocks = 1;
};
template <typename Kernel> struct Resident<Kernel, decltype(void(Kernel::kBlocks))> {
  static constexpr int kBlocks = Kernel::kBlocks;
};

template <typename Kernel>
__global__ void __launch_bounds__(Kernel::kThreads, Resident<Kernel>::kBlocks)
    runKernel(const typename Kernel::Args args) {
  extern __shared__ __align__(128) char shared[];
  Block block(shared);
  Kernel::block(block, args);
}

// Allow the kernel `sharedBytes` of dynamic shared memory. Not for enqueue: call it once beforehand.
template <typename Kernel> int prepareKernel(size_t sharedBytes) {
  if (sharedBytes <= 48 * 1024) return cudaSuccess;
  return cudaFuncSetAttribute(runKernel<Kernel>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              static_cast<int>(sharedBytes));
}

// Launch on `stream`; returns 0 or the cudaError_t.
template <typename Kernel>
int launchKernel(int gridX, int gridY, size_t sharedBytes, const typename Kernel::Args& args, Stream stream) {
  const dim3 grid(static_cast<unsigned>(gridX), static_cast<unsigned>(gridY));
  runKernel<Kernel><<<grid, Kernel::kThreads, sharedBytes, stream>>>(args);
  return cudaPeekAtLastError();
}

#else

// A half on a CPU: storage only; arithmetic is in float, as in the kernels.
struct Half {
  uint16_t bits;
};
using Stream = void*;

inline float toFloat(float value) { return value; }
inline float toFloat(Half half) {
  const uint32_t sign = static_cast<uint32_t>(half.bits & 0x8000u) << 16, exponent = (half.bits >> 10) & 31u;
  const uint32_t mantissa = half.bits & 0x3ffu;
  if (exponent == 0) {  // zero or subnormal: mantissa * 2^-24
    const float magnitude = std::ldexp(static_cast<float>(mantissa), -24);
    return sign ? -magnitude : magnitude;
  }
  const uint32_t wide = exponent == 31 ? 255u : exponent + 112u;
  const uint32_t bits = sign | wide << 23 | mantissa << 13;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
template <typename T> T fromFloat(float value);
template <> inline float fromFloat<float>(float value) { return value; }
template <> inline Half fromFloat<Half>(float value) {  // round to nearest, ties to even
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000u);
  if (std::isnan(value)) return {static_cast<uint16_t>(sign | 0x7e00u)};
  const float magnitude = std::fabs(value);
  if (magnitude >= 65520.0f) return {static_cast<uint16_t>(sign | 0x7c00u)};
  if (magnitude < 6.103515625e-05f) {  // subnormal: multiples of 2^-24
    return {static_cast<uint16_t>(sign | static_cast<uint16_t>(std::nearbyint(std::ldexp(magnitude, 24))))};
  }
  uint32_t rest = bits & 0x7fffffffu;
  rest += 0xfffu + (rest >> 13 & 1u);
  return {static_cast<uint16_t>(sign | ((rest >> 13) - (112u << 10)))};
}

inline void cosSinPi(float x, float& cosine, float& sine) {
  constexpr double kPi = 3.14159265358979323846;
  const double turned = std::fmod(static_cast<double>(x), 2.0) * kPi;
  cosine = static_cast<float>(std::cos(turned));
  sine = static_cast<float>(std::sin(turned));
}
inline int popcount(uint32_t bits) { return __builtin_popcount(bits); }
inline float exp2Fast(float x) { return std::exp2(x); }

// How the CPU runs blocks and threads; tests turn the order around.
struct CpuOrder {
  static bool& reversed() {
    static bool value = false;
    return value;
  }
  template <typename Body> static void loop(int count, Body body) {
    for (int i = 0; i < count; ++i) body(reversed() ? count - 1 - i : i);
  }
};

class Block {
 public:
  Block(int x, int y, int threads, char* shared) : x_(x), y_(y), threads_(threads), shared_(shared) {}
  int x() const { return x_; }
  int y() const { return y_; }
  int threads() const { return threads_; }
  template <typename T> T* shared(size_t offset = 0) const { return reinterpret_cast<T*>(shared_ + offset); }
  template <typename Body> void forThreads(Body body) const { CpuOrder::loop(threads_, body); }
  template <typename Body> void forWarps(Body body) const { CpuOrder::loop(threads_ / kWarp, body); }

 private:
  int x_, y_, threads_;
  char* shared_;
};

template <typename T> class Private {
 public:
  explicit Private(const Block& block) : values_(static_cast<size_t>(block.threads())) {}
  T& operator[](int thread) { return values_[static_cast<size_t>(thread)]; }

 private:
  std::vector<T> values_;
};

// A kernel's dynamic shared memory, as CUDA limits it: 48 KiB until prepareKernel allows more.
template <typename Kernel> size_t& allowedSharedBytes() {
  static size_t bytes = 48 * 1024;
  return bytes;
}

template <typename Kernel> int prepareKernel(size_t sharedBytes) {
  if (sharedBytes > 163 * 1024) return 1;  // cudaErrorInvalidValue on an Orin
  if (sharedBytes > 48 * 1024) allowedSharedBytes<Kernel>() = sharedBytes;
  return 0;
}

template <typename Kernel>
int launchKernel(int gridX, int gridY, size_t sharedBytes, const typename Kernel::Args& args, Stream) {
  if (gridX < 1 || gridY < 1 || gridY > 65535) return 9;      // cudaErrorInvalidConfiguration
  if (sharedBytes > allowedSharedBytes<Kernel>()) return 1;  // cudaErrorInvalidValue
  // Filled with NaN, for each block anew: reads of what no thread wrote show. No byte more than asked for:
  // sanitizers see what is behind it.
  std::vector<uint32_t> shared((sharedBytes + 3) / 4);
  CpuOrder::loop(gridX * gridY, [&](int index) {
    for (auto& word : shared) word = 0xffffffffu;
    Block block(index % gridX, index / gridX, Kernel::kThreads, reinterpret_cast<char*>(shared.data()));
    Kernel::block(block, args);
  });
  return 0;
}

#endif

}  // namespace s4op
