// What each algorithm's file offers; ssm_conv.cu chooses among them. Meanings as in ssm_conv.h.
#pragma once

#include "ssm_conv.h"

namespace s4op {

#define S4OP_ALGORITHM(name)                                                        \
  namespace name {                                                                  \
  bool supports(const Problem& problem, bool tf32, size_t sharedBytes);             \
  size_t workspaceBytes(const Problem& problem, bool tf32);                         \
  int prepare(const Problem& problem, bool tf32);                                   \
  int launch(const Problem& problem, bool tf32, const KeptSet& kept, const Operands& operands, Stream stream); \
  }

S4OP_ALGORITHM(fft)       // exact: never called with tf32
S4OP_ALGORITHM(scan)
S4OP_ALGORITHM(toeplitz)

#undef S4OP_ALGORITHM

}  // namespace s4op
