// Compiles if ort_abi.h says what ONNX Runtime's own header does.
#include <onnxruntime_c_api.h>

#include "ort_abi.h"

namespace ours = s4op::ort;

#define SAME_PLACE(name) \
  static_assert(offsetof(OrtApi, name) == ours::place::name * sizeof(void*), "the place of " #name)
#define SAME_MEMBER(theirs, our) \
  static_assert(offsetof(OrtCustomOp, theirs) == offsetof(ours::CustomOp, our), "the member " #theirs)
#define SAME_NUMBER(theirs, our) static_assert(int(theirs) == int(our), "the number " #theirs)

SAME_PLACE(CreateStatus);
SAME_PLACE(CreateCustomOpDomain);
SAME_PLACE(CustomOpDomain_Add);
SAME_PLACE(AddCustomOpDomain);
SAME_PLACE(GetTensorMutableData);
SAME_PLACE(GetDimensionsCount);
SAME_PLACE(GetDimensions);
SAME_PLACE(GetSymbolicDimensions);
SAME_PLACE(GetTensorTypeAndShape);
SAME_PLACE(KernelInfoGetAttribute_int64);
SAME_PLACE(KernelContext_GetInput);
SAME_PLACE(KernelContext_GetOutput);
SAME_PLACE(ReleaseStatus);
SAME_PLACE(ReleaseTensorTypeAndShapeInfo);
SAME_PLACE(KernelInfoGetAttributeArray_int64);
SAME_PLACE(KernelInfo_GetInputCount);
SAME_PLACE(KernelInfoGetConstantInput_tensor);
SAME_PLACE(ShapeInferContext_GetInputTypeShape);
SAME_PLACE(ShapeInferContext_SetOutputTypeShape);
SAME_PLACE(KernelContext_ParallelFor);

SAME_MEMBER(version, version);
SAME_MEMBER(CreateKernel, createKernel);
SAME_MEMBER(GetName, name);
SAME_MEMBER(GetExecutionProviderType, executionProvider);
SAME_MEMBER(GetInputType, inputType);
SAME_MEMBER(GetInputTypeCount, inputCount);
SAME_MEMBER(GetOutputType, outputType);
SAME_MEMBER(GetOutputTypeCount, outputCount);
SAME_MEMBER(KernelCompute, compute);
SAME_MEMBER(KernelDestroy, destroyKernel);
SAME_MEMBER(GetInputCharacteristic, inputCharacteristic);
SAME_MEMBER(GetOutputCharacteristic, outputCharacteristic);
SAME_MEMBER(GetInputMemoryType, inputMemory);
SAME_MEMBER(CreateKernelV2, createKernelOrFail);
SAME_MEMBER(KernelComputeV2, computeOrFail);
SAME_MEMBER(InferOutputShapeFn, inferShape);
SAME_MEMBER(GetStartVersion, startVersion);
SAME_MEMBER(GetEndVersion, endVersion);
SAME_MEMBER(ReleaseAliasMap, releaseAliasMap);
static_assert(offsetof(OrtApiBase, GetApi) == offsetof(ours::ApiBase, getApi), "GetApi");
static_assert(offsetof(OrtApiBase, GetVersionString) == offsetof(ours::ApiBase, getVersionString), "its version");
static_assert(ours::kApiVersion <= ORT_API_VERSION, "the header is older than what we ask for");

SAME_NUMBER(ORT_FAIL, ours::kFail);
SAME_NUMBER(ORT_INVALID_ARGUMENT, ours::kInvalidArgument);
SAME_NUMBER(ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, ours::kFloat);
SAME_NUMBER(INPUT_OUTPUT_REQUIRED, ours::kRequired);
SAME_NUMBER(INPUT_OUTPUT_OPTIONAL, ours::kOptional);
SAME_NUMBER(OrtMemTypeDefault, 0);
