#include "node.h"

#include <algorithm>
#include <atomic>
#include <functional>
#include <new>
#include <string>

#include "errors.h"
#include "inputs.h"
#include "instruction_set.h"

namespace s4op {
namespace {

constexpr size_t kParts = 32;  // of the channels, handed to the threads one by one: they end together
constexpr int64_t kMostChannels = 1 << 20;  // memory is taken for each, before any sample is there

Tensor inputOf(const ort::KernelContext* context, size_t index) {
  const ort::Value* value = nullptr;
  check(api.input(context, index, &value));
  if (value == nullptr) refuse("input " + std::to_string(index) + " has no name");  // "": an input left out
  return tensorOf(value);
}

void checkSamples(const Tensor& x, int64_t channels, const Layer& layer) {
  if (x.sizes.size() != 3 || x.sizes[1] != channels) {
    refuse("input x: expected shape [B, " + std::to_string(channels) + ", L], found " + written(x.sizes));
  }
  const int64_t needed = std::min<int64_t>(x.sizes[2], layer.chunk);
  if (layer.taps < needed) {
    refuse("input k: expected the kernel's first " + std::to_string(needed) + " taps, found " +
           std::to_string(layer.taps));
  }
}

}  // namespace

struct Node::Run {
  const Node& node;
  const Layer& layer;
  const float* x;
  float* y;
  int64_t batch, length;
  std::atomic<bool> failed;
};

Node::Node(const ort::KernelInfo* info) : set_(chosenInstructionSet()) {
  if (set_ == nullptr) refuse("S4OP_MAX_CPU_ISA names no instruction set of this architecture");
  readAttributes(info);
  orderChannels();
  check(api.inputCount(info, &inputs_));
  if (inputs_ != kDiagonalInputs && inputs_ != kDenseInputs) {
    refuse("expected 5 inputs (S4D) or 6 (S4), found " + std::to_string(inputs_));
  }
  std::vector<Tensor> inputs(inputs_);
  for (size_t i = kK; i < inputs_; ++i) {
    int constant = 0;
    const ort::Value* value = nullptr;
    check(api.constantInput(info, i, &constant, &value));
    if (!constant) return;
    inputs[i] = tensorOf(value);
  }
  layer_ = std::make_unique<const Layer>(makeLayer(weightsOf(inputs, static_cast<int64_t>(kept_.size()))));
}

void Node::readAttributes(const ort::KernelInfo* info) {
  int64_t gelu = 0;
  size_t count = 0;
  checkAttribute("num_channels", api.attribute(info, "num_channels", &channels_));
  checkAttribute("gelu", api.attribute(info, "gelu", &gelu));
  checkAttribute("channels", api.attributes(info, "channels", nullptr, &count));
  gelu_ = gelu != 0;
  if (channels_ > kMostChannels) {
    refuse("num_channels: expected at most " + std::to_string(kMostChannels) + ", found " +
           std::to_string(channels_));
  }
  kept_.resize(count);
  checkAttribute("channels", api.attributes(info, "channels", kept_.data(), &count));
}

void Node::orderChannels() {
  if (kept_.empty()) refuse("channels: expected at least one");
  const auto unordered = std::adjacent_find(kept_.begin(), kept_.end(), std::greater_equal<>());
  if (kept_.front() < 0 || kept_.back() >= channels_ || unordered != kept_.end()) {
    refuse("channels: expected ascending numbers below " + std::to_string(channels_) + ", found " + written(kept_));
  }
  source_.assign(channels_, -1);
  for (size_t i = 0; i < kept_.size(); ++i) source_[kept_[i]] = static_cast<int64_t>(i);
  order_ = kept_;  // the kept first: they take longest
  for (int64_t channel = 0; channel < channels_; ++channel) {
    if (source_[channel] < 0) order_.push_back(channel);
  }
}

void Node::compute(ort::KernelContext* context) const {
  if (layer_ != nullptr) return compute(context, *layer_);
  std::vector<Tensor> inputs(inputs_);
  for (size_t i = kK; i < inputs_; ++i) inputs[i] = inputOf(context, i);
  compute(context, makeLayer(weightsOf(inputs, static_cast<int64_t>(kept_.size()))));
}

void Node::compute(ort::KernelContext* context, const Layer& layer) const {
  const Tensor x = inputOf(context, kX);
  checkSamples(x, channels_, layer);
  ort::Value* output = nullptr;
  check(api.output(context, 0, x.sizes.data(), x.sizes.size(), &output));
  void* y = nullptr;
  check(api.data(output, &y));
  if (x.sizes[0] == 0 || x.sizes[2] == 0) return;
  Run run{*this, layer, x.data, static_cast<float*>(y), x.sizes[0], x.sizes[2], {false}};
  const auto work = [](void* data, size_t i) {  // on any thread: nothing may be thrown
    Run& run = *static_cast<Run*>(data);
    try {
      run.node.computeChannel(run, run.node.order_[i]);
    } catch (const std::bad_alloc&) {
      run.failed = true;
    }
  };
  check(api.parallelFor(context, work, order_.size(), kParts, &run));
  if (run.failed) throw std::bad_alloc();
}

// One channel of every sequence of the batch.
void Node::computeChannel(const Run& run, int64_t channel) const {
  const int64_t kept = source_[channel];
  const Floats scratch = kept < 0 ? Floats() : floats(set_->scratchFloats(run.layer));
  for (int64_t b = 0; b < run.batch; ++b) {
    const int64_t at = (b * channels_ + channel) * run.length;
    const float* x = run.x + at;
    if (kept >= 0) {
      set_->convolve(run.layer, kept, x, run.y + at, run.length, gelu_, scratch.get());
    } else if (gelu_) {
      set_->gelu(x, run.y + at, run.length);
    } else {
      std::copy(x, x + run.length, run.y + at);
    }
  }
}

}  // namespace s4op
