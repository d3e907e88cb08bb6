// A node's inputs as ONNX Runtime hands them over, checked.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "layer.h"
#include "ort_abi.h"

namespace s4op {

// By number; 5 for S4D, 6 for S4 (edge_s4op/op.py).
enum Input : size_t { kX, kK, kD, kPoles, kResidues, kDiagonalInputs, kA = kPoles, kB, kC, kDenseInputs };

using Sizes = std::vector<int64_t>;

struct Tensor {
  const float* data;
  Sizes sizes;
};

// "[3, 40]"
std::string written(const Sizes& sizes);

// Throws Failed.
Tensor tensorOf(const ort::Value* value);

// Of a node with `kept` operators, from its inputs; x is not looked at. Throws Failed for shapes that do not
// belong together.
Weights weightsOf(const std::vector<Tensor>& inputs, int64_t kept);

}  // namespace s4op
