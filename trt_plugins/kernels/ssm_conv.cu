// Chooses the algorithm of a tactic and checks what all of them ask of a problem.
#include "algorithms.h"

namespace s4op {

namespace {

constexpr int kInvalid = 1;  // cudaErrorInvalidValue

struct Choice {
  bool (*supports)(const Problem&, bool, size_t);
  size_t (*workspaceBytes)(const Problem&, bool);
  int (*prepare)(const Problem&, bool);
  int (*launch)(const Problem&, bool, const KeptSet&, const Operands&, Stream);
  bool tf32;
};

// No algorithm for a number nobody defined: supports is null.
Choice choose(Tactic tactic) {
  switch (tactic) {
    case Tactic::kFft: return {fft::supports, fft::workspaceBytes, fft::prepare, fft::launch, false};
    case Tactic::kScan: return {scan::supports, scan::workspaceBytes, scan::prepare, scan::launch, false};
    case Tactic::kScanTf32: return {scan::supports, scan::workspaceBytes, scan::prepare, scan::launch, true};
    case Tactic::kToeplitz:
      return {toeplitz::supports, toeplitz::workspaceBytes, toeplitz::prepare, toeplitz::launch, false};
    case Tactic::kToeplitzTf32:
      return {toeplitz::supports, toeplitz::workspaceBytes, toeplitz::prepare, toeplitz::launch, true};
  }
  return {nullptr, nullptr, nullptr, nullptr, false};
}

bool sensible(const Problem& p) {
  return p.batch >= 0 && p.channels >= 1 && p.channels <= kMaxChannels && p.kept >= 1 && p.kept <= p.channels &&
         p.length >= 1 && p.taps >= p.length && p.modes >= 0;
}

}  // namespace

KeptSet keptSet(const int32_t* channels, int count) {
  KeptSet set{};
  for (int i = 0; i < count; ++i) set.bits[channels[i] >> 5] |= 1u << (channels[i] & 31);
  int before = 0;
  for (int word = 0; word < kMaxChannels / 32; ++word) {
    set.before[word] = static_cast<uint16_t>(before);
    for (uint32_t bits = set.bits[word]; bits != 0; bits &= bits - 1) ++before;
  }
  return set;
}

bool supports(Tactic tactic, const Problem& problem, size_t sharedBytes) {
  const Choice choice = choose(tactic);
  return choice.supports != nullptr && sensible(problem) && choice.supports(problem, choice.tf32, sharedBytes);
}

size_t workspaceBytes(Tactic tactic, const Problem& problem) {
  const Choice choice = choose(tactic);
  return choice.workspaceBytes == nullptr ? 0 : choice.workspaceBytes(problem, choice.tf32);
}

int prepare(Tactic tactic, const Problem& problem) {
  const Choice choice = choose(tactic);
  return choice.prepare == nullptr ? kInvalid : choice.prepare(problem, choice.tf32);
}

int launch(Tactic tactic, const Problem& problem, const KeptSet& kept, const Operands& operands, Stream stream) {
  const Choice choice = choose(tactic);
  if (choice.launch == nullptr || !sensible(problem)) return kInvalid;
  if (problem.batch == 0) return 0;
  return choice.launch(problem, choice.tf32, kept, operands, stream);
}

}  // namespace s4op
