// The transforms of fft.cu: how a row's points lie in shared memory, and each pass over them.
//
// A row of up to P numbers is S transforms of Q = P/S points (see fft.cu), one after the other, each of
// the sequence times omega^n with omega^Q = zeta_j. Each thread holds 16 points. Forward by decimation
// in frequency: radix 16 (forwardFirst), for Q > 256 radix 16 again (middlePass), then the rest on 16
// neighbouring points (lastForward); back the same way. Within a pass a thread reads and writes the same
// points and no other's, so that passes need a barrier between them and none within.
#pragma once

#include "dft.h"

namespace s4op {
namespace fft {

constexpr int kHeld = 16;     // points a thread holds, and the radix of the first passes
constexpr int kLongest = 12;  // log2 of the longest transform

// Rows of up to 2^Log2 numbers.
template <int Log2> struct Plan {
  static constexpr int kLength = 1 << Log2;
  static constexpr int kSplit = Log2 > kLongest ? 1 << (Log2 - kLongest) : 1;  // S
  static constexpr int kPoints = kLength / kSplit;                             // Q
  static constexpr int kRowThreads = kPoints / kHeld;
  static constexpr int kThreads = kRowThreads < 64 ? 64 : kRowThreads;
  static constexpr int kRows = kThreads / kRowThreads;  // rows a block
  // Blocks a multiprocessor: 255, 168 or 128 registers a thread.
  static constexpr int kBlocks = kSplit > 2 ? 1 : kRows > 1 ? 6 : 512 / kThreads;
  static constexpr bool kMiddle = kPoints > 256;        // radices 16, 16, kLast or 16, kLast
  static constexpr int kLast = kMiddle ? kPoints / 256 : kPoints / 16;
  static constexpr int kInputs = kSplit * kHeld;  // numbers of a row for each thread
  // One more point every 16: threads that step by 16 points hit different banks.
  static constexpr int kBuffer = kPoints + kPoints / 16;
  static constexpr int kMiddleTable = kMiddle ? kRowThreads : 0;
  static constexpr int kWeights = kSplit > 1 ? kSplit * kInputs : 0;
  static constexpr size_t sharedBytes(int buffers) {
    return (static_cast<size_t>(buffers) * kRows * kBuffer + kMiddleTable + kWeights) * sizeof(Complex);
  }
  static S4OP_DEVICE int row(int thread) { return kRows == 1 ? 0 : thread / kRowThreads; }
  static S4OP_DEVICE int lane(int thread) { return kRows == 1 ? thread : thread % kRowThreads; }
  // padded(a + b) = padded(a) + padded(b) if a is a multiple of 2^n > b: compilers do not know.
  static S4OP_DEVICE int padded(int point) { return point + point / 16; }
};

// What the threads of a block share besides their rows' points.
template <typename P> struct Tables {
  Complex* middle;   // [q][n]: exp(-2 pi i n q / (Q/16))
  Complex* weights;  // [j][e]: zeta_j^(e / 16), e = 16 s + r

  S4OP_DEVICE Tables(const Block& block, int buffers)
      : middle(block.shared<Complex>() + buffers * P::kRows * P::kBuffer),
        weights(middle + P::kMiddleTable) {}

  S4OP_DEVICE void fill(int thread) const {
    constexpr int kStep = P::kLast;
    if (thread < P::kMiddleTable) {
      middle[thread] = cisPi(-2.0f / P::kRowThreads * static_cast<float>(thread / kStep * (thread % kStep)));
    }
    for (int i = thread; i < P::kWeights; i += P::kThreads) {
      const int numerator = (1 + 4 * (i / P::kInputs)) * (i % P::kInputs);
      weights[i] = cisPi(static_cast<float>(numerator) / (2 * P::kInputs));
    }
  }

  // zeta_j^(e / 16); with S = 1 a constant, exp(i pi e / 32).
  S4OP_DEVICE Complex weight(int j, int e) const {
    if constexpr (P::kSplit > 1) {
      return weights[j * P::kInputs + e];
    } else {
      constexpr float kCosine[17] = {1.0f,         0.995184727f, 0.980785280f, 0.956940336f, 0.923879533f,
                                     0.881921264f, 0.831469612f, 0.773010453f, 0.707106781f, 0.634393284f,
                                     0.555570233f, 0.471396737f, 0.382683432f, 0.290284677f, 0.195090322f,
                                     0.098017140f, 0.0f};
      return {kCosine[e], kCosine[16 - e]};
    }
  }
};

// The first pass's factors omega^n exp(-2 pi i n q / Q) of lane n: head[q / 4] tail[q % 4], so that none
// is more than one rounding away from exact.
struct FirstFactors {
  Complex head[4], tail[3];

  S4OP_DEVICE Complex at(int q) const { return q % 4 == 0 ? head[q / 4] : head[q / 4] * tail[q % 4 - 1]; }
};

template <typename P> S4OP_DEVICE FirstFactors firstFactors(int lane, int j) {
  FirstFactors factors;
  S4OP_UNROLL
  for (int a = 0; a < 4; ++a) {
    const int numerator = lane * (1 + 4 * j - 16 * a * P::kSplit);
    factors.head[a] = cisPi(static_cast<float>(numerator) / (2 * P::kLength));
  }
  S4OP_UNROLL
  for (int b = 1; b < 4; ++b) {
    factors.tail[b - 1] = cisPi(static_cast<float>(lane * b) * (-2.0f / P::kPoints));
  }
  return factors;
}

template <typename P> struct Inputs {
  float values[kHeld];
};

// 16 numbers of a row: from number `first` on, Q/16 apart; zeros behind its end.
template <typename P, typename T> S4OP_DEVICE Inputs<P> loaded(const T* row, int length, int first) {
  Inputs<P> inputs;
  row += first;
  S4OP_UNROLL
  for (int r = 0; r < kHeld; ++r) {
    inputs.values[r] = r * P::kRowThreads < length - first ? toFloat(row[r * P::kRowThreads]) : 0.0f;
  }
  return inputs;
}

// A row, inputs(s) of each s-th part of it, modulo X^Q - zeta_j -> shared memory, after the first pass.
template <typename P, typename Fetch>
S4OP_DEVICE void forwardFirst(Fetch inputs, const Tables<P>& tables, FirstFactors factors, int j, int lane,
                              Complex* points) {
  for (Complex& factor : factors.head) forgetOrigin(factor);
  Complex v[kHeld];
  S4OP_UNROLL
  for (int r = 0; r < kHeld; ++r) v[r] = {0.0f, 0.0f};
  S4OP_ROLL  // registers: not all parts at once
  for (int s = 0; s < P::kSplit; ++s) {
    const Inputs<P> part = inputs(s);
    S4OP_UNROLL
    for (int r = 0; r < kHeld; ++r) {
      const Complex weight = tables.weight(j, s * kHeld + r);
      v[r].re += part.values[r] * weight.re;
      v[r].im += part.values[r] * weight.im;
    }
  }
  dft<kHeld, false>(v);
  S4OP_UNROLL
  for (int q = 0; q < kHeld; ++q) {
    points[P::padded(lane) + P::padded(q * P::kRowThreads)] = v[q] * factors.at(q);
  }
}

// Shared memory -> the 16 points of a lane, after the last pass of the inverse transform.
template <typename P>
S4OP_DEVICE void inverseFirst(const Complex* points, FirstFactors factors, int lane, Complex* v) {
  for (Complex& factor : factors.head) forgetOrigin(factor);
  S4OP_UNROLL
  for (int q = 0; q < kHeld; ++q) {
    v[q] = points[P::padded(lane) + P::padded(q * P::kRowThreads)] * conjugate(factors.at(q));
  }
  dft<kHeld, true>(v);
}

template <typename P, bool Inverse>
S4OP_DEVICE void middlePass(const Tables<P>& tables, int lane, Complex* points) {
  const int n = lane % P::kLast, begin = P::padded(lane / P::kLast * P::kRowThreads) + n;
  Complex v[kHeld];
  S4OP_UNROLL
  for (int q = 0; q < kHeld; ++q) {
    v[q] = points[begin + P::padded(q * P::kLast)];
    if (Inverse && q > 0) v[q] = v[q] * conjugate(tables.middle[q * P::kLast + n]);
  }
  dft<kHeld, Inverse>(v);
  S4OP_UNROLL
  for (int q = 0; q < kHeld; ++q) {
    if (!Inverse && q > 0) v[q] = v[q] * tables.middle[q * P::kLast + n];
    points[begin + P::padded(q * P::kLast)] = v[q];
  }
}

// The last pass forward, of the group of kLast points that begins at the lane's point e.
template <typename P> S4OP_DEVICE void lastForward(const Complex* points, int lane, int e, Complex* v) {
  S4OP_UNROLL
  for (int r = 0; r < P::kLast; ++r) v[r] = points[P::padded(lane * kHeld) + e + r];
  dft<P::kLast, false>(v);
}

template <typename P> S4OP_DEVICE void lastInverse(Complex* points, int lane, int e, Complex* v) {
  dft<P::kLast, true>(v);
  S4OP_UNROLL
  for (int r = 0; r < P::kLast; ++r) points[P::padded(lane * kHeld) + e + r] = v[r];
}

// Where a lane keeps its first point of spectrum `piece`; the others follow, Q/16 apart: neighbouring
// lanes, neighbouring addresses.
template <typename P> S4OP_DEVICE size_t spectrumAt(size_t piece, int lane) {
  return piece * P::kPoints + lane;
}

}  // namespace fft
}  // namespace s4op
