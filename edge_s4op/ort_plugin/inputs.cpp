#include "inputs.h"

#include <algorithm>

#include "errors.h"

namespace s4op {
namespace {

constexpr const char* kNames[] = {"x", "k", "d", "poles or a", "residues or b", "c"};

void expect(Input input, const Tensor& tensor, const Sizes& sizes) {
  if (tensor.sizes != sizes) {
    refuse(std::string("input ") + kNames[input] + ": expected shape " + written(sizes) + ", found " +
           written(tensor.sizes));
  }
}

}  // namespace

std::string written(const Sizes& sizes) {
  std::string text = "[";
  const size_t shown = std::min<size_t>(sizes.size(), 16);
  for (size_t i = 0; i < shown; ++i) text += (i ? ", " : "") + std::to_string(sizes[i]);
  return text + (shown < sizes.size() ? ", ...]" : "]");
}

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

Weights weightsOf(const std::vector<Tensor>& inputs, int64_t kept) {
  const Tensor &k = inputs[kK], &form = inputs[kPoles];
  if (k.sizes.size() != 2 || k.sizes[1] < 1) expect(kK, k, {kept, 1});
  if (form.sizes.size() != 3 || form.sizes[1] < 1) expect(kPoles, form, {kept, 1, 2});
  Weights w{};
  w.kept = kept;
  w.taps = k.sizes[1];
  w.states = form.sizes[1];
  if (w.states > kMostStates) {
    refuse("expected at most " + std::to_string(kMostStates) + " states, found " + std::to_string(w.states));
  }
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

}  // namespace s4op
