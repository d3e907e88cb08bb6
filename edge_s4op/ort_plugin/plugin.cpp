// SSMConv (edge_s4op/op.py) as a custom operator of ONNX Runtime's CPU provider, float32, for S4D and S4.
// A library that defines the operator comes before the function of that name within the file.
#include <string>
#include <vector>

#include "errors.h"
#include "inputs.h"
#include "node.h"
#include "ort_abi.h"

namespace s4op {

ort::Api api(nullptr);

namespace {

using ort::Status;

// y's shape is x's. Of an x of unknown shape or size ONNX Runtime would make a known one: it is left open.
void inferShape(ort::ShapeContext* context) {
  ort::TensorInfo* info = nullptr;  // ONNX Runtime's, not to be released
  check(api.inputShape(context, kX, &info));
  size_t rank = 0;
  check(api.rank(info, &rank));
  Sizes sizes(rank);
  std::vector<const char*> names(rank);
  check(api.sizes(info, sizes.data(), rank));
  check(api.sizeNames(info, names.data(), rank));
  for (size_t i = 0; i < rank; ++i) {
    if (sizes[i] < 0 && (names[i] == nullptr || *names[i] == '\0')) return;
  }
  if (rank > 0) check(api.setOutputShape(context, 0, info));
}

const ort::CustomOp* ssmConv() {
  static const ort::CustomOp op = [] {
    ort::CustomOp o{};
    o.version = ort::kApiVersion;
    o.name = [](const ort::CustomOp*) { return "SSMConv"; };
    o.executionProvider = [](const ort::CustomOp*) -> const char* { return nullptr; };  // the CPU
    o.inputType = [](const ort::CustomOp*, size_t) { return ort::kFloat; };
    o.inputCount = [](const ort::CustomOp*) -> size_t { return kDenseInputs; };
    o.outputType = [](const ort::CustomOp*, size_t) { return ort::kFloat; };
    o.outputCount = [](const ort::CustomOp*) -> size_t { return 1; };
    o.inputCharacteristic = [](const ort::CustomOp*, size_t i) { return i == kC ? ort::kOptional : ort::kRequired; };
    o.outputCharacteristic = [](const ort::CustomOp*, size_t) { return ort::kRequired; };
    o.inputMemory = [](const ort::CustomOp*, size_t) { return 0; };
    o.createKernelOrFail = [](const ort::CustomOp*, const void*, const ort::KernelInfo* info, void** kernel) {
      return guarded([&] { *kernel = new Node(info); });
    };
    o.computeOrFail = [](void* kernel, ort::KernelContext* context) {
      return guarded([&] { static_cast<const Node*>(kernel)->compute(context); });
    };
    o.destroyKernel = [](void* kernel) { delete static_cast<Node*>(kernel); };
    o.inferShape = [](const ort::CustomOp*, ort::ShapeContext* context) {
      return guarded([&] { inferShape(context); });
    };
    o.startVersion = [](const ort::CustomOp*) { return 1; };
    o.endVersion = [](const ort::CustomOp*) { return 1; };
    return o;
  }();
  return &op;
}

// Sessions read the domain as long as they live, so it is never released.
ort::Domain* domainOf(const void* table) {
  api = ort::Api(table);
  ort::Domain* domain = nullptr;
  check(api.createDomain("trt.plugins", &domain));
  check(api.addToDomain(domain, ssmConv()));
  return domain;
}

}  // namespace
}  // namespace s4op

// The name under which ONNX Runtime looks for it.
extern "C" __attribute__((visibility("default"))) s4op::ort::Status* RegisterCustomOps(
    s4op::ort::SessionOptions* options, const s4op::ort::ApiBase* base) {
  using namespace s4op;
  const void* table = base->getApi(ort::kApiVersion);
  if (table == nullptr) {
    const std::string message = std::string("SSMConv: expected ONNX Runtime 1.20 or later, found ") +
                                base->getVersionString();
    return ort::Api(base->getApi(1)).createStatus(ort::kFail, message.c_str());
  }
  return guarded([&] {
    static ort::Domain* const domain = domainOf(table);  // once: other sessions may be running
    check(api.addDomain(options, domain));
  });
}
