// Which InstructionSet runs here.
#pragma once

#include "rows.h"

namespace s4op {

// The widest that this processor has and S4OP_MAX_CPU_ISA (if set) allows; null for a value it does not know.
const InstructionSet* chosenInstructionSet();

}  // namespace s4op

// For whoever loads the library without ONNX Runtime: the name of the above, or null.
extern "C" __attribute__((visibility("default"))) const char* s4op_instruction_set();
