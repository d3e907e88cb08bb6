// What this plugin uses of ONNX Runtime's C interface, declared here so that it builds wherever the package is
// installed: ONNX Runtime's Python packages bring no headers. The interface is binary compatible by its own
// rule, members are only ever added at the end; tests/edge_s4op/ort_plugin compares this file with the
// original header. Names and numbers: onnxruntime_c_api.h, version 20 of the interface (ONNX Runtime 1.20).
#pragma once

#include <cstddef>
#include <cstdint>

namespace s4op::ort {

constexpr uint32_t kApiVersion = 20;

struct Status;
struct Value;
struct TensorInfo;
struct KernelInfo;
struct KernelContext;
struct ShapeContext;
struct Domain;
struct SessionOptions;

enum ErrorCode : int { kFail = 1, kInvalidArgument = 2 };
enum ElementType : int { kFloat = 1 };
enum Characteristic : int { kRequired = 0, kOptional = 1 };

struct ApiBase {
  const void* (*getApi)(uint32_t version);  // a table of functions; null if older than `version`
  const char* (*getVersionString)();
};

// Where a function stands in OrtApi's table, by its name there.
namespace place {
enum Place : size_t {
  CreateStatus = 0,
  CreateCustomOpDomain = 26,
  CustomOpDomain_Add = 27,
  AddCustomOpDomain = 28,
  GetTensorMutableData = 51,
  GetDimensionsCount = 61,
  GetDimensions = 62,
  GetSymbolicDimensions = 63,
  GetTensorTypeAndShape = 65,
  KernelInfoGetAttribute_int64 = 86,
  KernelContext_GetInput = 90,
  KernelContext_GetOutput = 91,
  ReleaseStatus = 93,
  ReleaseTensorTypeAndShapeInfo = 99,
  KernelInfoGetAttributeArray_int64 = 163,
  KernelInfo_GetInputCount = 230,
  KernelInfoGetConstantInput_tensor = 249,
  ShapeInferContext_GetInputTypeShape = 268,
  ShapeInferContext_SetOutputTypeShape = 270,
  KernelContext_ParallelFor = 274,
};
}  // namespace place

// OrtApi.
class Api {
 public:
  explicit Api(const void* table) : table_(static_cast<void* const*>(table)) {}

  Status* createStatus(ErrorCode code, const char* message) const {
    return call<Status*>(place::CreateStatus, code, message);
  }
  Status* createDomain(const char* name, Domain** out) const {
    return call<Status*>(place::CreateCustomOpDomain, name, out);
  }
  Status* addToDomain(Domain* domain, const struct CustomOp* op) const {
    return call<Status*>(place::CustomOpDomain_Add, domain, op);
  }
  Status* addDomain(SessionOptions* options, Domain* domain) const {
    return call<Status*>(place::AddCustomOpDomain, options, domain);
  }
  Status* data(const Value* value, void** out) const {
    return call<Status*>(place::GetTensorMutableData, value, out);
  }
  Status* rank(const TensorInfo* info, size_t* out) const {
    return call<Status*>(place::GetDimensionsCount, info, out);
  }
  Status* sizes(const TensorInfo* info, int64_t* out, size_t rank) const {
    return call<Status*>(place::GetDimensions, info, out, rank);
  }
  // Empty for a size that is known or has no name; the names belong to `info`.
  Status* sizeNames(const TensorInfo* info, const char** out, size_t rank) const {
    return call<Status*>(place::GetSymbolicDimensions, info, out, rank);
  }
  Status* tensorInfo(const Value* value, TensorInfo** out) const {
    return call<Status*>(place::GetTensorTypeAndShape, value, out);
  }
  Status* attribute(const KernelInfo* info, const char* name, int64_t* out) const {
    return call<Status*>(place::KernelInfoGetAttribute_int64, info, name, out);
  }
  Status* input(const KernelContext* context, size_t index, const Value** out) const {
    return call<Status*>(place::KernelContext_GetInput, context, index, out);
  }
  Status* output(KernelContext* context, size_t index, const int64_t* sizes, size_t rank, Value** out) const {
    return call<Status*>(place::KernelContext_GetOutput, context, index, sizes, rank, out);
  }
  void release(Status* status) const { call<void>(place::ReleaseStatus, status); }
  void release(TensorInfo* info) const { call<void>(place::ReleaseTensorTypeAndShapeInfo, info); }
  // With out == nullptr: the number of elements into `count`.
  Status* attributes(const KernelInfo* info, const char* name, int64_t* out, size_t* count) const {
    return call<Status*>(place::KernelInfoGetAttributeArray_int64, info, name, out, count);
  }
  Status* inputCount(const KernelInfo* info, size_t* out) const {
    return call<Status*>(place::KernelInfo_GetInputCount, info, out);
  }
  Status* constantInput(const KernelInfo* info, size_t index, int* isConstant, const Value** out) const {
    return call<Status*>(place::KernelInfoGetConstantInput_tensor, info, index, isConstant, out);
  }
  Status* inputShape(const ShapeContext* context, size_t index, TensorInfo** out) const {
    return call<Status*>(place::ShapeInferContext_GetInputTypeShape, context, index, out);
  }
  Status* setOutputShape(const ShapeContext* context, size_t index, const TensorInfo* info) const {
    return call<Status*>(place::ShapeInferContext_SetOutputTypeShape, context, index, info);
  }
  // work(data, i) for i < total, on the session's threads, dealt out in `batches` parts.
  Status* parallelFor(const KernelContext* context, void (*work)(void*, size_t), size_t total, size_t batches,
                      void* data) const {
    return call<Status*>(place::KernelContext_ParallelFor, context, work, total, batches, data);
  }

 private:
  // The arguments' types are the function's: callers pass their own parameters, which have them.
  template <typename Result, typename... Arguments>
  Result call(size_t place, Arguments... arguments) const {
    return reinterpret_cast<Result (*)(Arguments...)>(table_[place])(arguments...);
  }

  void* const* table_;
};

// OrtCustomOp. Members that are null mean ONNX Runtime's default.
struct CustomOp {
  uint32_t version;
  void* (*createKernel)(const CustomOp*, const void* api, const KernelInfo*);
  const char* (*name)(const CustomOp*);
  const char* (*executionProvider)(const CustomOp*);
  ElementType (*inputType)(const CustomOp*, size_t);
  size_t (*inputCount)(const CustomOp*);
  ElementType (*outputType)(const CustomOp*, size_t);
  size_t (*outputCount)(const CustomOp*);
  void (*compute)(void* kernel, KernelContext*);
  void (*destroyKernel)(void* kernel);
  Characteristic (*inputCharacteristic)(const CustomOp*, size_t);
  Characteristic (*outputCharacteristic)(const CustomOp*, size_t);
  int (*inputMemory)(const CustomOp*, size_t);
  int (*variadicInputMinimum)(const CustomOp*);
  int (*variadicInputHomogeneous)(const CustomOp*);
  int (*variadicOutputMinimum)(const CustomOp*);
  int (*variadicOutputHomogeneous)(const CustomOp*);
  Status* (*createKernelOrFail)(const CustomOp*, const void* api, const KernelInfo*, void** kernel);
  Status* (*computeOrFail)(void* kernel, KernelContext*);
  Status* (*inferShape)(const CustomOp*, ShapeContext*);
  int (*startVersion)(const CustomOp*);
  int (*endVersion)(const CustomOp*);
  size_t (*mayInplace)(int**, int**);
  void (*releaseMayInplace)(int*, int*);
  size_t (*aliasMap)(int**, int**);
  void (*releaseAliasMap)(int*, int*);
};

}  // namespace s4op::ort
