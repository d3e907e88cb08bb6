// The shapes and types of SSMConv's inputs: checked against the attributes, and as the kernels' Problem.
#pragma once

#include "../kernels/ssm_conv.h"
#include "attributes.h"

#include <vector>

namespace s4op {

constexpr int64_t kUnknown = -1;  // a size that is not known yet

using Shape = std::vector<int64_t>;

Shape shapeOf(const nvinfer1::Dims& dims);
Shape shapeOf(const nvinfer1::DimsExprs& dims);  // constant expressions; the others are kUnknown

// Throw PluginError unless `inputs` (x, k, d and one of the state forms) agree with each other and with
// the attributes, as far as they are known.
void checkShapes(const Attributes& attributes, const std::vector<Shape>& inputs);

// Throw PluginError unless x is float or half, and everything else is float.
void checkTypes(const std::vector<nvinfer1::DataType>& inputs);

// Throw PluginError unless y is like x.
void checkOutput(const Shape& x, nvinfer1::DataType xType, const Shape& y, nvinfer1::DataType yType);

// For inputs that passed the checks and whose sizes are all known.
Problem problemOf(const Attributes& attributes, const std::vector<Shape>& inputs, nvinfer1::DataType type);

}  // namespace s4op
