// 16 x 16 matrix tiles on tensor cores, one warp a tile; on a CPU plain arrays with the same rounding.
//
// acc += a b, all row major. `lead` is the distance between rows in
// elements: a multiple of 8 for Half, of 4 for float; addresses are 32-byte aligned. Half operands
// multiply exactly and sum in float; Tf32 operands are rounded to 10 mantissa bits first.
#pragma once

#include "device.h"

#ifdef __CUDACC__
#include <mma.h>
#endif

namespace s4op {

constexpr int kTile = 16;

#ifdef __CUDACC__

// What the tensor cores are told about an operand type.
template <typename Operand> struct Operands16;
template <> struct Operands16<Half> {
  using Element = Half;
  static constexpr int kDepth = 16;
};
template <> struct Operands16<float> {
  using Element = nvcuda::wmma::precision::tf32;
  static constexpr int kDepth = 8;
};

template <typename Operand> class Accumulator {
 public:
  S4OP_DEVICE void clear() { nvcuda::wmma::fill_fragment(parts_, 0.0f); }
  S4OP_DEVICE void scale(float factor) {
    S4OP_UNROLL
    for (int i = 0; i < parts_.num_elements; ++i) parts_.x[i] *= factor;
  }
  S4OP_DEVICE void load(const float* source, int lead) {
    nvcuda::wmma::load_matrix_sync(parts_, source, lead, nvcuda::wmma::mem_row_major);
  }
  S4OP_DEVICE void store(float* target, int lead) const {
    nvcuda::wmma::store_matrix_sync(target, parts_, lead, nvcuda::wmma::mem_row_major);
  }
  S4OP_DEVICE void multiply(const Operand* a, int leadA, const Operand* b, int leadB) {
    nvcuda::wmma::fragment<nvcuda::wmma::matrix_a, 16, 16, kDepth, Element, nvcuda::wmma::row_major> left;
    nvcuda::wmma::fragment<nvcuda::wmma::matrix_b, 16, 16, kDepth, Element, nvcuda::wmma::row_major> right;
    S4OP_UNROLL
    for (int depth = 0; depth < kTile; depth += kDepth) {
      nvcuda::wmma::load_matrix_sync(left, a + depth, leadA);
      nvcuda::wmma::load_matrix_sync(right, b + depth * leadB, leadB);
      round(left);
      round(right);
      nvcuda::wmma::mma_sync(parts_, left, right, parts_);
    }
  }

 private:
  using Element = typename Operands16<Operand>::Element;
  static constexpr int kDepth = Operands16<Operand>::kDepth;
  template <typename Fragment> static S4OP_DEVICE void round(Fragment& fragment) {
    if constexpr (kDepth == 8) {
      S4OP_UNROLL
      for (int i = 0; i < fragment.num_elements; ++i) fragment.x[i] = nvcuda::wmma::__float_to_tf32(fragment.x[i]);
    }
  }
  nvcuda::wmma::fragment<nvcuda::wmma::accumulator, 16, 16, kDepth, float> parts_;
};

#else

template <typename Operand> class Accumulator {
 public:
  void clear() {
    for (float& value : values_) value = 0.0f;
  }
  void scale(float factor) {
    for (float& value : values_) value *= factor;
  }
  void load(const float* source, int lead) {
    for (int i = 0; i < 256; ++i) values_[i] = source[i / 16 * lead + i % 16];
  }
  void store(float* target, int lead) const {
    for (int i = 0; i < 256; ++i) target[i / 16 * lead + i % 16] = values_[i];
  }
  void multiply(const Operand* a, int leadA, const Operand* b, int leadB) {
    for (int row = 0; row < kTile; ++row) {
      for (int column = 0; column < kTile; ++column) {
        float sum = values_[row * kTile + column];
        for (int i = 0; i < kTile; ++i) sum += operand(a[row * leadA + i]) * operand(b[i * leadB + column]);
        values_[row * kTile + column] = sum;
      }
    }
  }

 private:
  static float operand(Half value) { return toFloat(value); }
  static float operand(float value) {  // round to nearest, ties away, 10 bits kept: as cvt.rna.tf32
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    bits = (bits + 0x1000u) & 0xffffe000u;
    std::memcpy(&value, &bits, sizeof bits);
    return value;
  }
  float values_[256];
};

#endif

}  // namespace s4op
