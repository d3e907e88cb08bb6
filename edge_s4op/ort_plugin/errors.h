// Errors on their way to ONNX Runtime, whose C interface wants them as a Status.
#pragma once

#include <exception>
#include <new>
#include <string>

#include "ort_abi.h"

namespace s4op {

// ONNX Runtime's functions; set when it registers the library.
extern ort::Api api;

// Carries a Status out of nested calls; compute and createKernel hand it on as their result.
struct Failed {
  ort::Status* status;
};

inline void check(ort::Status* status) {
  if (status != nullptr) throw Failed{status};
}

[[noreturn]] inline void refuse(const std::string& what) {
  throw Failed{api.createStatus(ort::kInvalidArgument, ("SSMConv: " + what).c_str())};
}

// ONNX Runtime's own words do not say which attribute is missing.
inline void checkAttribute(const char* name, ort::Status* status) {
  if (status == nullptr) return;
  api.release(status);
  refuse(std::string("attribute ") + name + " is missing, or of another type");
}

// Runs `body`; nothing is thrown through ONNX Runtime, which is C.
template <typename Body>
ort::Status* guarded(Body body) {
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

}  // namespace s4op
