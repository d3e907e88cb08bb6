#include "ssm_conv_plugin.h"

#include "cuda_device.h"
#include "errors.h"
#include "shapes.h"

#include <algorithm>

namespace s4op {

using nvinfer1::DataType;
using nvinfer1::DimsExprs;
using nvinfer1::DynamicPluginTensorDesc;
using nvinfer1::PluginCapabilityType;
using nvinfer1::PluginTensorDesc;

namespace {

constexpr int32_t kFailed = 1;
constexpr Tactic kTactics[] = {Tactic::kFft, Tactic::kScan, Tactic::kToeplitz, Tactic::kScanTf32,
                               Tactic::kToeplitzTf32};

bool isTf32(Tactic tactic) { return tactic == Tactic::kScanTf32 || tactic == Tactic::kToeplitzTf32; }

// Everything but shapes and types, which TensorRT adds to the timing cache's key by itself. Which
// channels are kept does not change the time, so that candidates of a pruning search share timings.
std::string identityOf(const Attributes& attributes) {
  return std::string("kept=") + std::to_string(attributes.channels.size()) +
         " num_channels=" + std::to_string(attributes.numChannels) +
         " gelu=" + std::to_string(attributes.gelu) + " allow_tf32=" + std::to_string(attributes.allowTf32) +
         " kernels=" + kernelBuild();
}

std::vector<Shape> shapesOf(const PluginTensorDesc* tensors, int32_t count) {
  std::vector<Shape> shapes;
  for (int32_t i = 0; i < count; ++i) shapes.push_back(shapeOf(tensors[i].dims));
  return shapes;
}

std::vector<DataType> typesOf(const PluginTensorDesc* tensors, int32_t count) {
  std::vector<DataType> types;
  for (int32_t i = 0; i < count; ++i) types.push_back(tensors[i].type);
  return types;
}

void checkOutputs(int32_t count) {
  if (count != 1) throw PluginError("expected one output, found " + std::to_string(count));
}

}  // namespace

SsmConvPlugin::SsmConvPlugin(Attributes attributes, std::string layer)
    : attributes_(std::move(attributes)),
      layer_(std::move(layer)),
      kept_(keptSet(attributes_.channels.data(), static_cast<int>(attributes_.channels.size()))),
      identity_(identityOf(attributes_)),
      serialized_(std::make_unique<SerializedAttributes>(attributes_)),
      sharedBytes_(sharedBytesPerBlock()) {}

SsmConvPlugin::SsmConvPlugin(const SsmConvPlugin& other)
    : IPluginV3(other),
      IPluginV3OneCore(other),
      IPluginV3OneBuild(other),
      IPluginV3OneRuntime(other),
      attributes_(other.attributes_),
      layer_(other.layer_),
      kept_(other.kept_),
      identity_(other.identity_),
      serialized_(std::make_unique<SerializedAttributes>(attributes_)),
      sharedBytes_(other.sharedBytes_),
      recorder_(other.recorder_),
      tactics_(other.tactics_),
      tactic_(other.tactic_),
      problem_(other.problem_),
      ready_(other.ready_) {}

nvinfer1::IPluginCapability* SsmConvPlugin::getCapabilityInterface(PluginCapabilityType type) noexcept {
  switch (type) {
    case PluginCapabilityType::kCORE: return static_cast<IPluginV3OneCore*>(this);
    case PluginCapabilityType::kBUILD: return static_cast<IPluginV3OneBuild*>(this);
    case PluginCapabilityType::kRUNTIME: return static_cast<IPluginV3OneRuntime*>(this);
  }
  return nullptr;
}

nvinfer1::IPluginV3* SsmConvPlugin::clone() noexcept {
  return guarded<IPluginV3*>(layer_.c_str(), recorder_, nullptr, [&] { return new SsmConvPlugin(*this); });
}

int32_t SsmConvPlugin::getOutputDataTypes(DataType* outputTypes, int32_t nbOutputs,
                                          const DataType* inputTypes, int32_t nbInputs) const noexcept {
  return guarded(layer_.c_str(), recorder_, kFailed, [&] {
    checkOutputs(nbOutputs);
    checkTypes({inputTypes, inputTypes + nbInputs});
    outputTypes[0] = inputTypes[0];
    return 0;
  });
}

int32_t SsmConvPlugin::getOutputShapes(const DimsExprs* inputs, int32_t nbInputs, const DimsExprs*, int32_t,
                                       DimsExprs* outputs, int32_t nbOutputs,
                                       nvinfer1::IExprBuilder&) noexcept {
  return guarded(layer_.c_str(), recorder_, kFailed, [&] {
    checkOutputs(nbOutputs);
    std::vector<Shape> shapes;
    for (int32_t i = 0; i < nbInputs; ++i) shapes.push_back(shapeOf(inputs[i]));
    checkShapes(attributes_, shapes);
    outputs[0] = inputs[0];
    return 0;
  });
}

bool SsmConvPlugin::supportsFormatCombination(int32_t pos, const DynamicPluginTensorDesc* inOut,
                                              int32_t nbInputs, int32_t nbOutputs) noexcept {
  if (pos < 0 || pos >= nbInputs + nbOutputs) return false;
  const PluginTensorDesc& tensor = inOut[pos].desc;
  if (tensor.format != nvinfer1::TensorFormat::kLINEAR) return false;
  if (pos == 0) return tensor.type == DataType::kFLOAT || tensor.type == DataType::kHALF;
  return tensor.type == (pos == nbInputs ? inOut[0].desc.type : DataType::kFLOAT);
}

std::vector<Problem> SsmConvPlugin::problemsOf(const DynamicPluginTensorDesc* in, int32_t nbInputs) const {
  std::vector<Problem> problems;
  for (const auto bound :
       {&DynamicPluginTensorDesc::min, &DynamicPluginTensorDesc::opt, &DynamicPluginTensorDesc::max}) {
    std::vector<PluginTensorDesc> tensors;
    for (int32_t i = 0; i < nbInputs; ++i) {
      tensors.push_back(in[i].desc);
      tensors.back().dims = in[i].*bound;
    }
    const std::vector<Shape> shapes = shapesOf(tensors.data(), nbInputs);
    checkShapes(attributes_, shapes);
    checkTypes(typesOf(tensors.data(), nbInputs));
    problems.push_back(problemOf(attributes_, shapes, in[0].desc.type));
  }
  return problems;
}

std::vector<Tactic> SsmConvPlugin::tacticsFor(const std::vector<Problem>& problems) const {
  std::vector<Tactic> found;
  for (const Tactic tactic : kTactics) {
    const auto fits = [&](const Problem& problem) { return supports(tactic, problem, sharedBytes_); };
    const bool allowed = attributes_.allowTf32 || !isTf32(tactic);
    if (allowed && std::all_of(problems.begin(), problems.end(), fits)) found.push_back(tactic);
  }
  return found;
}

int32_t SsmConvPlugin::configurePlugin(const DynamicPluginTensorDesc* in, int32_t nbInputs,
                                       const DynamicPluginTensorDesc*, int32_t nbOutputs) noexcept {
  tactics_.clear();
  problem_.reset();
  ready_ = false;
  return guarded(layer_.c_str(), recorder_, kFailed, [&] {
    checkOutputs(nbOutputs);
    tactics_ = tacticsFor(problemsOf(in, nbInputs));
    if (tactics_.empty()) throw PluginError("no algorithm for these shapes on this device");
    return 0;
  });
}

size_t SsmConvPlugin::getWorkspaceSize(const DynamicPluginTensorDesc* inputs, int32_t nbInputs,
                                       const DynamicPluginTensorDesc*, int32_t) const noexcept {
  return guarded(layer_.c_str(), recorder_, size_t{0}, [&] {
    const std::vector<Problem> problems = problemsOf(inputs, nbInputs);
    size_t bytes = 0;
    for (const Tactic tactic : tacticsFor(problems)) {
      for (const Problem& problem : problems) bytes = std::max(bytes, workspaceBytes(tactic, problem));
    }
    return bytes;
  });
}

int32_t SsmConvPlugin::getValidTactics(int32_t* tactics, int32_t nbTactics) noexcept {
  return guarded(layer_.c_str(), recorder_, kFailed, [&] {
    if (nbTactics != getNbTactics()) {
      throw PluginError("asked for " + std::to_string(nbTactics) + " tactics, there are " +
                        std::to_string(getNbTactics()));
    }
    std::transform(tactics_.begin(), tactics_.end(), tactics,
                   [](Tactic tactic) { return static_cast<int32_t>(tactic); });
    return 0;
  });
}

void SsmConvPlugin::checkTactic(Tactic tactic) const {
  const std::string number = std::to_string(static_cast<int32_t>(tactic));
  if (std::find(std::begin(kTactics), std::end(kTactics), tactic) == std::end(kTactics)) {
    throw PluginError("tactic " + number + " does not exist: build the engine again");
  }
  if (isTf32(tactic) && !attributes_.allowTf32)
    throw PluginError("tactic " + number + " is TF32, which nobody asked for");
}

int32_t SsmConvPlugin::setTactic(int32_t tactic) noexcept {
  ready_ = false;
  return guarded(layer_.c_str(), recorder_, kFailed, [&] {
    const Tactic chosen = tactic == 0 ? Tactic::kFft : static_cast<Tactic>(tactic);
    checkTactic(chosen);
    tactic_ = chosen;
    prepareIfKnown();
    return 0;
  });
}

int32_t SsmConvPlugin::onShapeChange(const PluginTensorDesc* in, int32_t nbInputs,
                                     const PluginTensorDesc* out, int32_t nbOutputs) noexcept {
  problem_.reset();
  ready_ = false;
  return guarded(layer_.c_str(), recorder_, kFailed, [&] {
    checkOutputs(nbOutputs);
    const std::vector<Shape> shapes = shapesOf(in, nbInputs);
    checkTypes(typesOf(in, nbInputs));
    checkShapes(attributes_, shapes);
    checkOutput(shapes[0], in[0].type, shapeOf(out[0].dims), out[0].type);
    problem_ = problemOf(attributes_, shapes, in[0].type);
    prepareIfKnown();
    return 0;
  });
}

// A tactic left over from another format is no error until something runs with it: see checkReady.
void SsmConvPlugin::prepareIfKnown() {
  if (!problem_ || !supports(tactic_, *problem_, sharedBytes_)) return;
  const int status = prepare(tactic_, *problem_);
  if (status != 0) throw PluginError("the kernels cannot run on this device: " + statusText(status));
  ready_ = true;
}

void SsmConvPlugin::checkReady(const PluginTensorDesc& x) const {
  if (!problem_) throw PluginError("enqueue without the shapes");
  const bool same = x.dims.nbDims == 3 && x.dims.d[0] == problem_->batch && x.dims.d[2] == problem_->length;
  if (!same) throw PluginError("enqueue with other shapes than onShapeChange");
  if (ready_) return;
  throw PluginError("tactic " + std::to_string(static_cast<int32_t>(tactic_)) + " cannot do batch " +
                    std::to_string(problem_->batch) + ", length " + std::to_string(problem_->length) +
                    " on this device: build the engine again");
}

int32_t SsmConvPlugin::enqueue(const PluginTensorDesc* inputDesc, const PluginTensorDesc*,
                               const void* const* inputs, void* const* outputs, void* workspace,
                               cudaStream_t stream) noexcept {
  return guarded(layer_.c_str(), recorder_, kFailed, [&] {
    checkReady(inputDesc[0]);
    const auto floats = [&](int position) { return static_cast<const float*>(inputs[position]); };
    const bool modal = problem_->modes > 0;
    const Operands operands{
        inputs[0],  floats(1), floats(2), modal ? floats(3) : nullptr, modal ? floats(4) : nullptr,
        outputs[0], workspace};
    const int status = launch(tactic_, *problem_, kept_, operands, stream);
    if (status != 0) throw PluginError("launch failed: " + statusText(status));
    return 0;
  });
}

nvinfer1::IPluginV3* SsmConvPlugin::attachToContext(nvinfer1::IPluginResourceContext* context) noexcept {
  return guarded<IPluginV3*>(layer_.c_str(), recorder_, nullptr, [&] {
    auto attached = std::make_unique<SsmConvPlugin>(*this);
    attached->recorder_ = context == nullptr ? nullptr : context->getErrorRecorder();
    return attached.release();
  });
}

const nvinfer1::PluginFieldCollection* SsmConvPlugin::getFieldsToSerialize() noexcept {
  return serialized_->collection();
}

}  // namespace s4op
