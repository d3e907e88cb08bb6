// Four samples at a time between global and shared memory, and scales that keep values within half's range.
#pragma once

#include "epilogue.h"

namespace s4op {

constexpr int kPack = 4;

template <typename T, int kCount = kPack> struct alignas(kCount * sizeof(T)) Pack {
  T v[kCount];
};

template <typename T> S4OP_DEVICE const Pack<T>& packAt(const T* address) {
  return *reinterpret_cast<const Pack<T>*>(address);
}
template <typename T> S4OP_DEVICE Pack<T>& packAt(T* address) { return *reinterpret_cast<Pack<T>*>(address); }

// Whether the rows of x and y can be moved in packs: all of them aligned, none with a rest.
template <typename T> bool packedRows(const void* x, const void* y, int length) {
  return length % kPack == 0 &&
         (reinterpret_cast<size_t>(x) | reinterpret_cast<size_t>(y)) % sizeof(Pack<T>) == 0;
}

// row[i .. i + 4), zeros from `length` on.
template <typename T> S4OP_DEVICE Pack<T> loadPack(const T* row, int i, int length, bool packed) {
  if (packed && i < length) return packAt(row + i);
  Pack<T> pack;
  S4OP_UNROLL
  for (int j = 0; j < kPack; ++j) pack.v[j] = i + j < length ? row[i + j] : fromFloat<T>(0.0f);
  return pack;
}

template <typename T>
S4OP_DEVICE void storePack(T* row, int i, int length, bool packed, const Pack<T>& pack) {
  if (packed && i < length) {
    packAt(row + i) = pack;
    return;
  }
  S4OP_UNROLL
  for (int j = 0; j < kPack; ++j) {
    if (i + j < length) row[i + j] = pack.v[j];
  }
}

// A pruned channel's row: a copy, or its GELU. For one block.
template <typename T>
S4OP_DEVICE void passThroughPacks(const Block& block, const T* x, T* y, int length, bool packed,
                                  bool withGelu) {
  block.forThreads([&](int thread) {
    for (int i = kPack * thread; i < length; i += kPack * block.threads()) {
      Pack<T> pack = loadPack(x, i, length, packed);
      if (withGelu) {
        S4OP_UNROLL
        for (int j = 0; j < kPack; ++j) pack.v[j] = finish<T>(toFloat(pack.v[j]), true);
      }
      storePack(y, i, length, packed, pack);
    }
  });
}

// The e for which value 2^-e lies in [0.5, 1); 0 for zero and for what is not finite.
S4OP_DEVICE int exponentOf(float value) {
  int exponent = 0;
  if (value > 0.0f && value < 3.0e38f) frexpf(value, &exponent);
  return exponent;
}

// 2^exponent, exactly; kept where it and its inverse are normal numbers.
S4OP_DEVICE float powerOfTwo(int exponent) {
  return ldexpf(1.0f, exponent < -120 ? -120 : exponent > 120 ? 120 : exponent);
}

// The largest of `count` (a multiple of 4) values, none negative.
S4OP_DEVICE float largest(const float* values, int count) {
  float most = 0.0f;
  for (int i = 0; i < count; i += kPack) {
    const Pack<float> pack = packAt(values + i);
    most = fmaxf(most, fmaxf(fmaxf(pack.v[0], pack.v[1]), fmaxf(pack.v[2], pack.v[3])));
  }
  return most;
}

}  // namespace s4op
