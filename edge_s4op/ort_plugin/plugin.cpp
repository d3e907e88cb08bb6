// SSMConv (edge_s4op/op.py) as a custom operator of ONNX Runtime's CPU provider, float32, for S4D and S4.
// A library that defines the operator comes before the function of that name within the file.
#include <algorithm>
#include <atomic>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "instruction_set.h"
#include "layer.h"
#include "ort_abi.h"

namespace s4op {
namespace {

using ort::Status;

ort::Api api(nullptr);

enum Input : size_t { kX, kK, kD, kPoles, kResidues, kDiagonalInputs, kA = kPoles, kB, kC, kDenseInputs };
constexpr const char* kNames[] = {"x", "k", "d", "poles or a", "residues or b", "c"};
constexpr size_t kParts = 32;  // of the channels, handed to the threads one by one: they end together

using Sizes = std::vector<int64_t>;

// Carries a Status out of nested calls; compute and createKernel hand it on as their result.
struct Failed {
  Status* status;
};

void check(Status* status) {
  if (status != nullptr) throw Failed{status};
}

[[noreturn]] void refuse(const std::string& what) {
  throw Failed{api.createStatus(ort::kInvalidArgument, ("SSMConv: " + what).c_str())};
}

// ONNX Runtime's own words do not say which attribute is missing.
void checkAttribute(const char* name, Status* status) {
  if (status == nullptr) return;
  api.release(status);
  refuse(std::string("attribute ") + name + " is missing, or of another type");
}

// Runs `body`; nothing is thrown through ONNX Runtime, which is C.
template <typename Body>
Status* guarded(Body body) {
  try {
    body();
    return nullptr;
  } catch (const Failed& failed) {
    return failed.status;
  } catch (const std::bad_alloc&) {
    return api.createStatus(ort::kFail, "SSMConv: out of memory");
  } catch (const std::exception& error) {
    return api.createStatus(ort::kFail, (std::string("SSMConv: ") + error.what()).c_str());
  }
}

std::string written(const Sizes& sizes) {
  std::string text = "[";
  for (size_t i = 0; i < sizes.size(); ++i) text += (i ? ", " : "") + std::to_string(sizes[i]);
  return text + "]";
}

struct Tensor {
  const float* data;
  Sizes sizes;
};

Tensor tensorOf(const ort::Value* value) {
  struct Info {
    ort::TensorInfo* info = nullptr;
    ~Info() {
      if (info != nullptr) api.release(info);
    }
  } holder;
  check(api.tensorInfo(value, &holder.info));
  size_t rank = 0;
  check(api.rank(holder.info, &rank));
  Tensor tensor{nullptr, Sizes(rank)};
  check(api.sizes(holder.info, tensor.sizes.data(), rank));
  void* data = nullptr;
  check(api.data(value, &data));
  tensor.data = static_cast<const float*>(data);
  return tensor;
}

void expect(Input input, const Tensor& tensor, const Sizes& sizes) {
  if (tensor.sizes != sizes) {
    refuse(std::string("input ") + kNames[input] + ": expected shape " + written(sizes) + ", found " +
           written(tensor.sizes));
  }
}

// `inputs`: of the node, x left out of account. Throws Failed for shapes that do not belong together.
Weights weightsOf(const std::vector<Tensor>& inputs, int64_t kept) {
  const Tensor &k = inputs[kK], &form = inputs[kPoles];
  if (k.sizes.size() != 2 || k.sizes[1] < 1) expect(kK, k, {kept, 1});
  if (form.sizes.size() != 3 || form.sizes[1] < 1) expect(kPoles, form, {kept, 1, 2});
  Weights w{};
  w.kept = kept;
  w.taps = k.sizes[1];
  w.states = form.sizes[1];
  expect(kK, k, {kept, w.taps});
  expect(kD, inputs[kD], {kept});
  w.k = k.data;
  w.d = inputs[kD].data;
  if (inputs.size() == kDiagonalInputs) {
    expect(kPoles, form, {kept, w.states, 2});
    expect(kResidues, inputs[kResidues], {kept, w.states, 2});
    w.poles = form.data;
    w.residues = inputs[kResidues].data;
  } else {
    expect(kA, form, {kept, w.states, w.states});
    expect(kB, inputs[kB], {kept, w.states});
    expect(kC, inputs[kC], {kept, w.states});
    w.a = form.data;
    w.b = inputs[kB].data;
    w.c = inputs[kC].data;
  }
  return w;
}

class Kernel {
 public:
  explicit Kernel(const ort::KernelInfo* info) {
    set_ = chosenInstructionSet();
    if (set_ == nullptr) refuse("S4OP_MAX_CPU_ISA names no instruction set of this architecture");
    int64_t gelu = 0;
    checkAttribute("num_channels", api.attribute(info, "num_channels", &channels_));
    checkAttribute("gelu", api.attribute(info, "gelu", &gelu));
    gelu_ = gelu != 0;
    size_t count = 0;
    checkAttribute("channels", api.attributes(info, "channels", nullptr, &count));
    kept_.resize(count);
    checkAttribute("channels", api.attributes(info, "channels", kept_.data(), &count));
    checkChannels();
    check(api.inputCount(info, &inputs_));
    if (inputs_ != kDiagonalInputs && inputs_ != kDenseInputs) {
      refuse("expected 5 inputs (S4D) or 6 (S4), found " + std::to_string(inputs_));
    }
    std::vector<Tensor> inputs(inputs_);
    for (size_t i = kK; i < inputs_; ++i) {
      int constant = 0;
      const ort::Value* value = nullptr;
      check(api.constantInput(info, i, &constant, &value));
      if (!constant) return;  // made anew at every run
      inputs[i] = tensorOf(value);
    }
    layer_ = std::make_unique<const Layer>(makeLayer(weightsOf(inputs, count)));
  }

  void compute(ort::KernelContext* context) const {
    if (layer_ != nullptr) return compute(context, *layer_);
    std::vector<Tensor> inputs(inputs_);
    for (size_t i = kK; i < inputs_; ++i) inputs[i] = input(context, i);
    compute(context, makeLayer(weightsOf(inputs, kept_.size())));
  }

 private:
  struct Run {
    const Kernel& kernel;
    const Layer& layer;
    const float* x;
    float* y;
    int64_t batch, length;
    std::atomic<bool> failed;
  };

  void checkChannels() {
    source_.assign(channels_ > 0 ? channels_ : 0, -1);
    int64_t last = -1;
    for (size_t i = 0; i < kept_.size(); ++i) {
      if (kept_[i] <= last || kept_[i] >= channels_) {
        refuse("channels: expected ascending numbers below " + std::to_string(channels_) + ", found " +
               written(kept_));
      }
      last = kept_[i];
      source_[last] = static_cast<int64_t>(i);
    }
    if (kept_.empty()) refuse("channels: expected at least one");
    order_ = kept_;  // the kept first: they take longest
    for (int64_t channel = 0; channel < channels_; ++channel) {
      if (source_[channel] < 0) order_.push_back(channel);
    }
  }

  static Tensor input(const ort::KernelContext* context, size_t index) {
    const ort::Value* value = nullptr;
    check(api.input(context, index, &value));
    return tensorOf(value);
  }

  void compute(ort::KernelContext* context, const Layer& layer) const {
    const Tensor x = input(context, kX);
    if (x.sizes.size() != 3 || x.sizes[1] != channels_) {
      refuse("input x: expected shape [B, " + std::to_string(channels_) + ", L], found " + written(x.sizes));
    }
    const int64_t length = x.sizes[2];
    if (layer.taps < length && layer.taps < layer.chunk) {
      refuse("input k: expected the kernel's first " + std::to_string(std::min<int64_t>(length, layer.chunk)) +
             " taps, found " + std::to_string(layer.taps));
    }
    ort::Value* output = nullptr;
    check(api.output(context, 0, x.sizes.data(), x.sizes.size(), &output));
    void* y = nullptr;
    check(api.data(output, &y));
    if (x.sizes[0] == 0 || length == 0) return;
    Run run{*this, layer, x.data, static_cast<float*>(y), x.sizes[0], length, {false}};
    check(api.parallelFor(context, channel, order_.size(), kParts, &run));
    if (run.failed) throw std::bad_alloc();
  }

  // One channel of every sequence of the batch.
  static void channel(void* data, size_t i) {
    Run& run = *static_cast<Run*>(data);
    const Kernel& kernel = run.kernel;
    const int64_t channel = kernel.order_[i], operatorOf = kernel.source_[channel];
    try {
      const Floats scratch = operatorOf < 0 ? Floats() : zeros(kernel.set_->scratchFloats(run.layer));
      for (int64_t b = 0; b < run.batch; ++b) {
        const int64_t at = (b * kernel.channels_ + channel) * run.length;
        const float* x = run.x + at;
        if (operatorOf >= 0) {
          kernel.set_->convolve(run.layer, operatorOf, x, run.y + at, run.length, kernel.gelu_, scratch.get());
        } else if (kernel.gelu_) {
          kernel.set_->gelu(x, run.y + at, run.length);
        } else {
          std::copy(x, x + run.length, run.y + at);
        }
      }
    } catch (const std::bad_alloc&) {
      run.failed = true;
    }
  }

  const InstructionSet* set_ = nullptr;
  int64_t channels_ = 0;
  bool gelu_ = false;
  size_t inputs_ = 0;
  std::vector<int64_t> kept_, source_, order_;
  std::unique_ptr<const Layer> layer_;
};

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
      return guarded([&] { *kernel = new Kernel(info); });
    };
    o.computeOrFail = [](void* kernel, ort::KernelContext* context) {
      return guarded([&] { static_cast<const Kernel*>(kernel)->compute(context); });
    };
    o.destroyKernel = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
    o.inferShape = [](const ort::CustomOp*, ort::ShapeContext* context) -> Status* {
      ort::TensorInfo* info = nullptr;  // ONNX Runtime's, not to be released
      Status* status = api.inputShape(context, kX, &info);
      return status != nullptr ? status : api.setOutputShape(context, 0, info);
    };
    o.startVersion = [](const ort::CustomOp*) { return 1; };
    o.endVersion = [](const ort::CustomOp*) { return 1; };
    return o;
  }();
  return &op;
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
  api = ort::Api(table);
  ort::Domain* domain = nullptr;  // ONNX Runtime reads it as long as sessions live: it is never released
  if (Status* status = api.createDomain("trt.plugins", &domain)) return status;
  if (Status* status = api.addToDomain(domain, ssmConv())) return status;
  return api.addDomain(options, domain);
}
