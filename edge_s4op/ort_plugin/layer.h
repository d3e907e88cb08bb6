// One SSMConv node's weights as matrices of the chunked state-space form (edge_s4op/op_body.py has the algebra).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

namespace s4op {

constexpr int64_t kMostStates = 1 << 14;  // the sizes of a Layer stay far below an int's end

// The node's weights as they stand in the file: shapes as edge_s4op/op.py gives them, M = states.
struct Weights {
  int64_t kept, taps, states;
  const float *k, *d;
  const float *poles, *residues;  // S4D; null for S4
  const float *a, *b, *c;         // S4; null for S4D
};

struct AlignedFree {
  void operator()(float* p) const { ::operator delete(p, std::align_val_t(64)); }
};
using Floats = std::unique_ptr<float[], AlignedFree>;

// `count` floats, aligned to a cache line, not set. Throws std::bad_alloc.
Floats floats(size_t count);

// Per kept operator, one behind the other, T = chunk, S = width (state reals, padded with zeros):
//   near [T][T]   what a chunk's samples do to its own outputs, d on the diagonal
//   reach [T][S]  what its samples add to the state
//   read [S][T]   what the state before the chunk adds to its outputs
//   step          S4D [S]: a^T, real parts, then imaginary; S4 [S][S]: A^T transposed
struct Layer {
  bool dense;
  int chunk, width;
  int64_t kept, taps;
  size_t stride;  // floats of one operator
  Floats data;

  const float* near(int64_t i) const { return data.get() + i * stride; }
  const float* reach(int64_t i) const { return near(i) + size_t(chunk) * chunk; }
  const float* read(int64_t i) const { return reach(i) + size_t(chunk) * width; }
  const float* step(int64_t i) const { return read(i) + size_t(chunk) * width; }
};

// Throws std::bad_alloc.
Layer makeLayer(const Weights& weights);

}  // namespace s4op
