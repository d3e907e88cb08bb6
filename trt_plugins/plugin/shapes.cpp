#include "shapes.h"

#include "errors.h"

#include <limits>

namespace s4op {

using nvinfer1::DataType;

namespace {

constexpr size_t kX = 0, kK = 1, kD = 2, kState = 3;  // positions among the inputs
constexpr size_t kInputsS4d = 5, kInputsS4 = 6;

const char* nameOf(size_t input, size_t count) {
  if (input < kState) return kInputs[input];
  return count == kInputsS4d ? kStateInputsS4d[input - kState] : kStateInputsS4[input - kState];
}

std::string textOf(const Shape& shape) {
  std::string text = "(";
  for (size_t i = 0; i < shape.size(); ++i) {
    text += (i == 0 ? "" : ", ") + (shape[i] == kUnknown ? std::string("?") : std::to_string(shape[i]));
  }
  return text + ")";
}

// Sizes that are not known agree with every other.
void expectShape(const char* name, const Shape& found, const Shape& expected) {
  bool agrees = found.size() == expected.size();
  for (size_t i = 0; agrees && i < found.size(); ++i) {
    agrees = (found[i] == expected[i] || found[i] == kUnknown || expected[i] == kUnknown) &&
             found[i] <= std::numeric_limits<int32_t>::max();
  }
  if (agrees) return;
  throw PluginError(std::string("input ") + name + ": expected " + textOf(expected) + ", found " +
                    textOf(found));
}

int64_t sizeAt(const Shape& shape, size_t axis) { return axis < shape.size() ? shape[axis] : kUnknown; }

void checkStateForm(const std::vector<Shape>& inputs, int64_t kept) {
  const size_t count = inputs.size();
  const int64_t size = sizeAt(inputs[kState], 1);  // M
  if (size == 0)
    throw PluginError(std::string("input ") + nameOf(kState, count) + ": expected one state or more");
  if (count == kInputsS4d) {
    for (size_t i = kState; i < count; ++i) expectShape(nameOf(i, count), inputs[i], {kept, size, 2});
    return;
  }
  expectShape(nameOf(kState, count), inputs[kState], {kept, size, size});
  for (size_t i = kState + 1; i < count; ++i) expectShape(nameOf(i, count), inputs[i], {kept, size});
}

const char* nameOf(DataType type) {
  switch (type) {
    case DataType::kFLOAT: return "float32";
    case DataType::kHALF: return "float16";
    case DataType::kINT32: return "int32";
    case DataType::kINT64: return "int64";
    default: return "another type";
  }
}

void checkCount(size_t count) {
  if (count == kInputsS4d || count == kInputsS4) return;
  throw PluginError("expected the inputs x, k, d, poles, residues or x, k, d, a, b, c; found " +
                    std::to_string(count) + " inputs");
}

}  // namespace

Shape shapeOf(const nvinfer1::Dims& dims) {
  return Shape(dims.d, dims.d + (dims.nbDims < 0 ? 0 : dims.nbDims));
}

Shape shapeOf(const nvinfer1::DimsExprs& dims) {
  Shape shape;
  for (int32_t i = 0; i < dims.nbDims; ++i) {
    shape.push_back(dims.d[i]->isConstant() ? dims.d[i]->getConstantValue() : kUnknown);
  }
  return shape;
}

void checkShapes(const Attributes& attributes, const std::vector<Shape>& inputs) {
  checkCount(inputs.size());
  const auto kept = static_cast<int64_t>(attributes.channels.size());
  expectShape("x", inputs[kX], {kUnknown, attributes.numChannels, kUnknown});
  expectShape("k", inputs[kK], {kept, kUnknown});
  expectShape("d", inputs[kD], {kept});
  const int64_t length = inputs[kX][2], taps = inputs[kK][1];
  if (length == 0)
    throw PluginError("input x: expected one sample or more, found shape " + textOf(inputs[kX]));
  if (length != kUnknown && taps != kUnknown && taps < length) {
    throw PluginError("input k: expected " + std::to_string(length) +
                      " taps or more, as many as x has samples, found " + std::to_string(taps));
  }
  checkStateForm(inputs, kept);
}

void checkTypes(const std::vector<DataType>& inputs) {
  checkCount(inputs.size());
  if (inputs[kX] != DataType::kFLOAT && inputs[kX] != DataType::kHALF) {
    throw PluginError(std::string("input x: expected float32 or float16, found ") + nameOf(inputs[kX]));
  }
  for (size_t i = kK; i < inputs.size(); ++i) {
    if (inputs[i] == DataType::kFLOAT) continue;
    throw PluginError(std::string("input ") + nameOf(i, inputs.size()) + ": expected float32, found " +
                      nameOf(inputs[i]));
  }
}

void checkOutput(const Shape& x, DataType xType, const Shape& y, DataType yType) {
  if (y != x) throw PluginError("output y: expected the shape of x, " + textOf(x) + ", found " + textOf(y));
  if (yType == xType) return;
  throw PluginError(std::string("output y: expected the type of x, ") + nameOf(xType) + ", found " +
                    nameOf(yType));
}

Problem problemOf(const Attributes& attributes, const std::vector<Shape>& inputs, DataType type) {
  const auto size = [&](size_t input, size_t axis) { return static_cast<int>(inputs[input][axis]); };
  return {size(kX, 0),
          attributes.numChannels,
          static_cast<int>(attributes.channels.size()),
          size(kX, 2),
          size(kK, 1),
          inputs.size() == kInputsS4d ? size(kState, 1) : 0,
          type == DataType::kHALF ? Type::kHalf : Type::kFloat,
          attributes.gelu};
}

}  // namespace s4op
