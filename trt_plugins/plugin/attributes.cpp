#include "attributes.h"

#include "../kernels/ssm_conv.h"
#include "errors.h"

#include <cstdlib>
#include <cstring>
#include <limits>

#ifndef S4OP_KERNEL_BUILD
#error "define S4OP_KERNEL_BUILD as a string that changes with the kernels (CMakeLists.txt does)"
#endif

namespace s4op {

using nvinfer1::PluginField;
using nvinfer1::PluginFieldCollection;
using nvinfer1::PluginFieldType;
using nvinfer1::TensorRTPhase;

namespace {

template <size_t Length>
std::string listOf(const char* const (&names)[Length]) {
  std::string list = names[0];
  for (size_t i = 1; i < Length; ++i) list += std::string(", ") + names[i];
  return list;
}

constexpr const char* kKnown[] = {kPluginVersion, kPluginNamespace, kChannels,   kNumChannels,
                                  kGelu,          kAllowTf32,       kKernelBuild};

const PluginField* find(const PluginFieldCollection& fields, const char* name) {
  const PluginField* found = nullptr;
  for (int32_t i = 0; i < fields.nbFields; ++i) {
    if (std::strcmp(fields.fields[i].name, name) != 0) continue;
    if (found != nullptr) throw PluginError(std::string("attribute ") + name + " is given twice");
    found = &fields.fields[i];
  }
  return found;
}

void checkNames(const PluginFieldCollection* fields) {
  if (fields == nullptr || fields->nbFields < 0 || (fields->nbFields > 0 && fields->fields == nullptr)) {
    throw PluginError("no attributes at all: expected " + listOf(kKnown));
  }
  for (int32_t i = 0; i < fields->nbFields; ++i) {
    const char* name = fields->fields[i].name;
    bool known = false;
    for (const char* candidate : kKnown)
      known = known || (name != nullptr && std::strcmp(name, candidate) == 0);
    if (!known) {
      throw PluginError(std::string("unknown attribute ") + (name == nullptr ? "(null)" : name) +
                        ": expected " + listOf(kKnown));
    }
  }
}

std::vector<int32_t> integers(const PluginField& field) {
  const std::string name = std::string("attribute ") + field.name;
  if (field.type != PluginFieldType::kINT32 && field.type != PluginFieldType::kINT64) {
    throw PluginError(name + ": expected int32 or int64, found PluginFieldType " +
                      std::to_string(static_cast<int32_t>(field.type)));
  }
  if (field.length < 1 || field.data == nullptr)
    throw PluginError(name + ": expected one number or more, found none");
  const auto count = static_cast<size_t>(field.length);
  std::vector<int32_t> values(count);
  if (field.type == PluginFieldType::kINT32) {
    std::memcpy(values.data(), field.data, count * sizeof(int32_t));
    return values;
  }
  for (size_t i = 0; i < count; ++i) {
    int64_t wide;
    std::memcpy(&wide, static_cast<const char*>(field.data) + i * sizeof wide, sizeof wide);
    if (wide < std::numeric_limits<int32_t>::min() || wide > std::numeric_limits<int32_t>::max()) {
      throw PluginError(name + ": " + std::to_string(wide) + " is out of range");
    }
    values[i] = static_cast<int32_t>(wide);
  }
  return values;
}

std::vector<int32_t> required(const PluginFieldCollection& fields, const char* name) {
  const PluginField* field = find(fields, name);
  if (field == nullptr) throw PluginError(std::string("attribute ") + name + " is missing");
  return integers(*field);
}

int32_t single(const std::vector<int32_t>& values, const char* name) {
  if (values.size() == 1) return values[0];
  throw PluginError(std::string("attribute ") + name + ": expected one number, found " +
                    std::to_string(values.size()));
}

bool flag(const std::vector<int32_t>& values, const char* name) {
  const int32_t value = single(values, name);
  if (value == 0 || value == 1) return value == 1;
  throw PluginError(std::string("attribute ") + name + ": expected 0 or 1, found " + std::to_string(value));
}

std::string text(const PluginField& field) {
  if (field.type != PluginFieldType::kCHAR || field.length < 0 ||
      (field.length > 0 && field.data == nullptr)) {
    throw PluginError(std::string("attribute ") + field.name + ": expected a string");
  }
  const std::string whole(static_cast<const char*>(field.data), static_cast<size_t>(field.length));
  return whole.substr(0, whole.find('\0'));  // some writers count the terminator
}

void expectText(const PluginFieldCollection& fields, const char* name, const char* expected) {
  const PluginField* field = find(fields, name);
  if (field == nullptr || text(*field) == expected) return;
  throw PluginError(std::string("attribute ") + name + ": expected \"" + expected + "\", found \"" +
                    text(*field) + "\"");
}

void checkChannels(const std::vector<int32_t>& channels, int32_t numChannels) {
  const std::string range = "[0, " + std::to_string(numChannels) + ")";
  for (size_t i = 0; i < channels.size(); ++i) {
    const bool inside = channels[i] >= 0 && channels[i] < numChannels;
    if (inside && (i == 0 || channels[i] > channels[i - 1])) continue;
    throw PluginError("attribute channels: expected ascending channels within " + range + ", found " +
                      std::to_string(channels[i]) +
                      (i == 0 ? "" : " behind " + std::to_string(channels[i - 1])));
  }
}

bool tf32Wanted(const PluginFieldCollection& fields, TensorRTPhase phase) {
  const PluginField* field = find(fields, kAllowTf32);
  if (field != nullptr) return flag(integers(*field), kAllowTf32);
  const char* variable = phase == TensorRTPhase::kBUILD ? std::getenv(kAllowTf32Variable) : nullptr;
  const std::string value = variable == nullptr ? "" : variable;
  if (value == "1") return true;
  if (value.empty() || value == "0") return false;
  throw PluginError(std::string("environment variable ") + kAllowTf32Variable +
                    ": expected 0 or 1, found \"" + value + "\"");
}

void checkKernelBuild(const PluginFieldCollection& fields) {
  const PluginField* field = find(fields, kKernelBuild);
  const std::string found = field == nullptr ? "none" : text(*field);
  if (found == kernelBuild()) return;
  throw PluginError("the engine was built with kernels " + found + ", this library has kernels " +
                    kernelBuild() + ": build the engine again");
}

}  // namespace

const char* kernelBuild() noexcept { return S4OP_KERNEL_BUILD; }

Attributes parseAttributes(const PluginFieldCollection* fields, TensorRTPhase phase) {
  checkNames(fields);
  if (phase == TensorRTPhase::kRUNTIME) checkKernelBuild(*fields);
  expectText(*fields, kPluginVersion, kVersion);
  expectText(*fields, kPluginNamespace, kNamespace);
  Attributes attributes;
  attributes.numChannels = single(required(*fields, kNumChannels), kNumChannels);
  if (attributes.numChannels < 1 || attributes.numChannels > kMaxChannels) {
    throw PluginError("attribute num_channels: expected 1 to " + std::to_string(kMaxChannels) + ", found " +
                      std::to_string(attributes.numChannels));
  }
  attributes.channels = required(*fields, kChannels);
  checkChannels(attributes.channels, attributes.numChannels);
  attributes.gelu = flag(required(*fields, kGelu), kGelu);
  attributes.allowTf32 = tf32Wanted(*fields, phase);
  return attributes;
}

SerializedAttributes::SerializedAttributes(const Attributes& attributes)
    : channels_(attributes.channels),
      numChannels_(attributes.numChannels),
      gelu_(attributes.gelu),
      allowTf32_(attributes.allowTf32),
      fields_{{kChannels, channels_.data(), PluginFieldType::kINT32, static_cast<int32_t>(channels_.size())},
              {kNumChannels, &numChannels_, PluginFieldType::kINT32, 1},
              {kGelu, &gelu_, PluginFieldType::kINT32, 1},
              {kAllowTf32, &allowTf32_, PluginFieldType::kINT32, 1},
              {kKernelBuild, kernelBuild(), PluginFieldType::kCHAR,
               static_cast<int32_t>(std::strlen(kernelBuild()))}},
      collection_{static_cast<int32_t>(fields_.size()), fields_.data()} {}

}  // namespace s4op
