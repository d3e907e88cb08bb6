// What the plugin asks the CUDA runtime. Built for the CPU there is none to ask.
#pragma once

#include <cstddef>
#include <string>

namespace s4op {

// Shared memory a block of the current device may have; Orin's 163 KiB where no device answers, so that
// tactics are listed (not run) on a machine without one.
size_t sharedBytesPerBlock() noexcept;

// What a status of the kernels means, in the CUDA runtime's words.
std::string statusText(int status);

}  // namespace s4op
