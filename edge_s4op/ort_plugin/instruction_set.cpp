#include "instruction_set.h"

#include <cstdlib>
#include <cstring>

namespace s4op {
namespace {

struct Candidate {
  const InstructionSet* set;
  bool here;
};

}  // namespace

const InstructionSet* chosenInstructionSet() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl");
  const Candidate candidates[] = {{&kBase, true}, {&kAvx2, avx2}, {&kAvx512, avx512}};
#else
  const Candidate candidates[] = {{&kBase, true}};
#endif
  const char* most = std::getenv("S4OP_MAX_CPU_ISA");
  const InstructionSet* chosen = nullptr;
  for (const auto& candidate : candidates) {
    if (candidate.here) chosen = candidate.set;
    if (most != nullptr && std::strcmp(most, candidate.set->name) == 0) return chosen;
  }
  return most == nullptr || *most == '\0' ? chosen : nullptr;
}

}  // namespace s4op

const char* s4op_instruction_set() {
  const s4op::InstructionSet* set = s4op::chosenInstructionSet();
  return set == nullptr ? nullptr : set->name;
}
