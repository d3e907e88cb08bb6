// What one channel's samples become, in the instruction sets this processor may have.
#pragma once

#include "layer.h"

namespace s4op {

struct InstructionSet {
  const char* name;
  // y = SSMConv(x) of kept operator i, `length` samples; `scratch` holds scratchFloats(layer).
  void (*convolve)(const Layer& layer, int64_t i, const float* x, float* y, int64_t length, bool gelu,
                   float* scratch);
  size_t (*scratchFloats)(const Layer& layer);
  // y = gelu(x), exact: x Phi(x).
  void (*gelu)(const float* x, float* y, int64_t length);
};

extern const InstructionSet kBase;  // what every processor of this architecture has
#if defined(__x86_64__)
extern const InstructionSet kAvx2, kAvx512;
#endif

}  // namespace s4op
