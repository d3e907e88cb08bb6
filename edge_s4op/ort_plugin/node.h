// One SSMConv node of a session: its weights, ready to compute with.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "layer.h"
#include "ort_abi.h"
#include "rows.h"

namespace s4op {

class Node {
 public:
  // Throws Failed for attributes or weights that are no SSMConv's, std::bad_alloc.
  explicit Node(const ort::KernelInfo* info);

  // y = SSMConv(x). Throws Failed for an x of another shape, std::bad_alloc. Any number at once.
  void compute(ort::KernelContext* context) const;

 private:
  struct Run;

  void readAttributes(const ort::KernelInfo* info);
  void orderChannels();
  void compute(ort::KernelContext* context, const Layer& layer) const;
  void computeChannel(const Run& run, int64_t channel) const;

  const InstructionSet* set_;
  int64_t channels_ = 0;
  bool gelu_ = false;
  size_t inputs_ = 0;
  std::vector<int64_t> kept_;    // channels, ascending
  std::vector<int64_t> source_;  // of each channel its kept operator, or -1
  std::vector<int64_t> order_;   // channels as they are computed
  std::unique_ptr<const Layer> layer_;  // null where a weight is no constant: made at every run
};

}  // namespace s4op
