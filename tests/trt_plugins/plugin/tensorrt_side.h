// What a harness needs to play TensorRT's part: words to its types, its interfaces, answers as JSON.
#pragma once

#include <NvInferRuntime.h>

#include <cstdlib>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

using namespace nvinfer1;

using Words = std::vector<std::string>;

[[noreturn]] inline void fail(const std::string& what) {
  std::cerr << "harness: " << what << std::endl;
  std::exit(2);
}

// --- JSON out, words in ------------------------------------------------------------------------------

inline std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out + "\"";
}

inline std::string boolean(bool value) { return value ? "true" : "false"; }

template <typename Range, typename Text>
inline std::string list(const Range& range, Text text) {
  std::string out = "[";
  for (const auto& item : range) out += (out.size() > 1 ? ", " : "") + text(item);
  return out + "]";
}

inline Words split(const std::string& text, char mark) {
  Words parts;
  std::stringstream stream(text);
  for (std::string part; std::getline(stream, part, mark);) parts.push_back(part);
  return parts;
}

// --- TensorRT's side of the interfaces -----------------------------------------------------------------

class Log final : public ILogger, public ILoggerFinder {
 public:
  void log(Severity severity, const char* text) noexcept override {
    lines.push_back((severity == Severity::kERROR ? "error: " : "note: ") + std::string(text));
  }
  ILogger* findLogger() override { return this; }
  Words lines;
};
inline Log theLog;

class Recorder final : public IErrorRecorder {
 public:
  int32_t getNbErrors() const noexcept override { return static_cast<int32_t>(errors.size()); }
  ErrorCode getErrorCode(int32_t) const noexcept override { return ErrorCode::kINVALID_ARGUMENT; }
  ErrorDesc getErrorDesc(int32_t i) const noexcept override { return errors[static_cast<size_t>(i)].c_str(); }
  bool hasOverflowed() const noexcept override { return false; }
  void clear() noexcept override { errors.clear(); }
  bool reportError(ErrorCode, ErrorDesc text) noexcept override {
    errors.push_back(text);
    return true;
  }
  RefCount incRefCount() noexcept override { return 1; }
  RefCount decRefCount() noexcept override { return 1; }
  Words errors;
};
inline Recorder theRecorder;

class Context final : public IPluginResourceContext {
 public:
  IGpuAllocator* getGpuAllocator() const noexcept override { return nullptr; }
  IErrorRecorder* getErrorRecorder() const noexcept override { return &theRecorder; }
};
inline Context theContext;

// A size of a shape: a number, or unknown (negative).
class Size final : public IDimensionExpr, private apiv::VDimensionExpr {
 public:
  explicit Size(int64_t value) : value_(value) { mImpl = this; }
  static std::string text(const IDimensionExpr& size) {
    return size.isConstant() ? std::to_string(size.getConstantValue()) : "-1";
  }

 private:
  bool isConstant() const override { return value_ >= 0; }
  int64_t getConstantValue() const override { return value_; }
  bool isSizeTensor() const override { return false; }
  int64_t value_;
};

// The plugin has no business with it: y's shape is x's.
class NoBuilder final : public IExprBuilder {
 public:
  NoBuilder() { mImpl = nullptr; }
};

// --- words to TensorRT's types ---------------------------------------------------------------------------

inline DataType typeOf(const std::string& name) {
  static const std::map<std::string, DataType> types = {
      {"float32", DataType::kFLOAT}, {"float16", DataType::kHALF}, {"int32", DataType::kINT32},
      {"int64", DataType::kINT64},   {"int8", DataType::kINT8},    {"bfloat16", DataType::kBF16}};
  return types.count(name) != 0 ? types.at(name) : (fail("type " + name), DataType::kFLOAT);
}

inline TensorFormat formatOf(const std::string& name) {
  return name == "linear" ? TensorFormat::kLINEAR
         : name == "hwc8" ? TensorFormat::kHWC8
                          : TensorFormat::kCHW32;
}

inline Dims dimsOf(const std::string& text) {
  Dims dims{};
  if (text == "-") return dims;
  for (const std::string& size : split(text, 'x'))
    dims.d[dims.nbDims++] = size == "?" ? -1 : std::stoll(size);
  return dims;
}

inline DynamicPluginTensorDesc tensorOf(const std::string& word) {
  const Words parts = split(word, ':');
  const Words bounds = split(parts.at(1), '/');
  DynamicPluginTensorDesc tensor{};
  tensor.desc.type = typeOf(parts[0]);
  tensor.desc.format = parts.size() > 2 ? formatOf(parts[2]) : TensorFormat::kLINEAR;
  tensor.desc.scale = 1.0f;
  tensor.min = dimsOf(bounds.front());
  tensor.opt = dimsOf(bounds[bounds.size() / 2]);
  tensor.max = dimsOf(bounds.back());
  tensor.desc.dims = tensor.max;
  for (int32_t i = 0; i < tensor.max.nbDims; ++i) {
    if (tensor.min.d[i] != tensor.max.d[i]) tensor.desc.dims.d[i] = -1;
  }
  return tensor;
}

inline std::vector<DynamicPluginTensorDesc> tensorsOf(const Words& words, size_t from) {
  std::vector<DynamicPluginTensorDesc> tensors;
  for (size_t i = from; i < words.size(); ++i) tensors.push_back(tensorOf(words[i]));
  return tensors;
}

inline std::vector<PluginTensorDesc> concrete(const std::vector<DynamicPluginTensorDesc>& tensors) {
  std::vector<PluginTensorDesc> found;
  for (const auto& tensor : tensors) {
    found.push_back(tensor.desc);
    found.back().dims = tensor.opt;
  }
  return found;
}

// Fields and what they point to.
struct Fields {
  std::vector<std::unique_ptr<std::string>> bytes;
  std::vector<PluginField> fields;
  PluginFieldCollection collection{};
};

template <typename Number>
inline std::string packed(const std::string& numbers) {
  std::string bytes;
  for (const std::string& word : split(numbers, ',')) {
    const auto value = static_cast<Number>(std::stod(word));
    bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  return bytes;
}

inline void addField(Fields& target, const std::string& word) {
  const size_t colon = word.find(':'), equals = word.find('=');
  if (colon == std::string::npos || equals == std::string::npos) fail("field " + word);
  const std::string type = word.substr(colon + 1, equals - colon - 1), value = word.substr(equals + 1);
  const auto keep = [&](std::string bytes) {
    target.bytes.push_back(std::make_unique<std::string>(std::move(bytes)));
    return target.bytes.back()->data();
  };
  const char* name = keep(word.substr(0, colon));
  const auto count = static_cast<int32_t>(split(value, ',').size());
  if (type == "int32")
    target.fields.emplace_back(name, keep(packed<int32_t>(value)), PluginFieldType::kINT32, count);
  if (type == "int64")
    target.fields.emplace_back(name, keep(packed<int64_t>(value)), PluginFieldType::kINT64, count);
  if (type == "float32")
    target.fields.emplace_back(name, keep(packed<float>(value)), PluginFieldType::kFLOAT32, count);
  if (type == "null") target.fields.emplace_back(name, nullptr, PluginFieldType::kINT32, 3);
  if (type == "char") {
    target.fields.emplace_back(name, keep(value), PluginFieldType::kCHAR, static_cast<int32_t>(value.size()));
  }
}

inline std::string fieldText(const PluginField& field) {
  std::string values;
  const auto* bytes = static_cast<const char*>(field.data);
  if (field.data == nullptr) values = "null";
  if (field.data != nullptr && field.type == PluginFieldType::kCHAR) {
    values = quoted(std::string(bytes, static_cast<size_t>(field.length)));
  }
  if (field.data != nullptr && field.type == PluginFieldType::kINT32) {
    const auto* numbers = static_cast<const int32_t*>(field.data);
    values = list(std::vector<int32_t>(numbers, numbers + field.length),
                  [](int32_t v) { return std::to_string(v); });
  }
  return "[" + quoted(field.name) + ", " + values + "]";
}

inline std::string fieldsText(const PluginFieldCollection* fields) {
  return list(std::vector<PluginField>(fields->fields, fields->fields + fields->nbFields), fieldText);
}
