// Errors inside the plugin are exceptions; none crosses into TensorRT.
#pragma once

#include <NvInferRuntime.h>

#include <stdexcept>

namespace s4op {

// Says what is wrong, what was expected and what was found.
class PluginError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The finder TensorRT gave the library; null before.
void setFinder(nvinfer1::ILoggerFinder* finder) noexcept;

// Write "SSMConv LAYER: TEXT" to TensorRT's logger as an error and to `recorder` if there is one; to
// stderr where no logger is found.
void reportError(const char* layer, const char* text, nvinfer1::IErrorRecorder* recorder) noexcept;

// body(), or `failure` after its exception was reported.
template <typename Result, typename Body>
Result guarded(const char* layer, nvinfer1::IErrorRecorder* recorder, Result failure, Body body) noexcept {
  try {
    return body();
  } catch (const std::exception& error) {
    reportError(layer, error.what(), recorder);
  } catch (...) {
    reportError(layer, "unknown exception", recorder);
  }
  return failure;
}

}  // namespace s4op
