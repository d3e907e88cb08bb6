// The end of every kernel: skip term, GELU, rounding to the output's type.
#pragma once

#include "device.h"

namespace s4op {

// x Phi(x), the exact GELU (erf).
S4OP_DEVICE float gelu(float x) { return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f)); }

template <typename Io> S4OP_DEVICE Io finish(float value, bool withGelu) {
  return fromFloat<Io>(withGelu ? gelu(value) : value);
}

// A pruned channel: a copy, or its GELU. For one block.
template <typename Io> S4OP_DEVICE void passThrough(const Block& block, const Io* x, Io* y, int length, bool withGelu) {
  block.forThreads([&](int thread) {
    for (int i = thread; i < length; i += block.threads()) {
      y[i] = withGelu ? finish<Io>(toFloat(x[i]), true) : x[i];
    }
  });
}

}  // namespace s4op
