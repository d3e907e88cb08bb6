#include "errors.h"

#include "loaded_tensorrt.h"

#include <atomic>
#include <cstdio>

namespace s4op {

namespace {

std::atomic<nvinfer1::ILoggerFinder*> finderInUse{nullptr};

// The tables of functions of ILogger and ILoggerFinder differ between major versions: what comes from
// another one than the headers' must not be called.
nvinfer1::ILogger* logger() noexcept {
  const int32_t major = loadedTensorRtMajor();
  if (major != 0 && major != NV_TENSORRT_MAJOR) return nullptr;
  nvinfer1::ILoggerFinder* finder = finderInUse.load();
  nvinfer1::ILogger* found = finder == nullptr ? nullptr : finder->findLogger();
  if (found != nullptr) return found;
  const auto getLogger = reinterpret_cast<nvinfer1::ILogger* (*)()>(loadedTensorRtSymbol("getLogger"));
  return getLogger == nullptr ? nullptr : getLogger();
}

}  // namespace

void setFinder(nvinfer1::ILoggerFinder* finder) noexcept { finderInUse = finder; }

void reportError(const char* layer, const char* text, nvinfer1::IErrorRecorder* recorder) noexcept {
  char line[1024];
  std::snprintf(line, sizeof line, "SSMConv%s%s: %s", *layer == '\0' ? "" : " ", layer, text);
  if (nvinfer1::ILogger* found = logger()) {
    found->log(nvinfer1::ILogger::Severity::kERROR, line);
  } else {
    std::fprintf(stderr, "%s\n", line);
  }
  if (recorder == nullptr) return;
  line[nvinfer1::IErrorRecorder::kMAX_DESC_LENGTH] = '\0';
  recorder->reportError(nvinfer1::ErrorCode::kINVALID_ARGUMENT, line);
}

}  // namespace s4op
