// Calls a plugin library the way TensorRT does, from its two exported functions on, and says what came
// back. Reads one command a line, answers one line of JSON: see harness.py, which drives it.
//
// A tensor is TYPE:DIMS or TYPE:MIN/OPT/MAX, with DIMS as 2x64x256 (? where unknown, - for none). A
// field is NAME:TYPE=V,V,... Commands that touch a plugin name it by a word chosen at its creation.
#include "tensorrt_side.h"

#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include <cstring>
#include <fstream>

namespace {

// --- memory that a plugin for the GPU and one for the CPU can both use -----------------------------------

std::shared_ptr<char> allocate(size_t bytes) {
  void* memory = nullptr;
  if (cudaMallocManaged(&memory, bytes + 1) == cudaSuccess) return {static_cast<char*>(memory), cudaFree};
  if (posix_memalign(&memory, 256, bytes + 1) != 0) fail("out of memory");
  return {static_cast<char*>(memory), free};
}

std::shared_ptr<char> fileContent(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string content((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (!file) fail("cannot read " + path);
  auto memory = allocate(content.size());
  std::memcpy(memory.get(), content.data(), content.size());
  return memory;
}

// --- commands ----------------------------------------------------------------------------------------------

struct Session {
  IPluginCreatorV3One* creator = nullptr;
  std::map<std::string, IPluginV3*> plugins;

  IPluginV3& plugin(const std::string& name) {
    return plugins.count(name) != 0 ? *plugins[name] : (fail("no plugin " + name), *plugins[name]);
  }
  template <typename Capability>
  Capability& as(const std::string& name, PluginCapabilityType type) {
    auto* found = static_cast<Capability*>(plugin(name).getCapabilityInterface(type));
    return found != nullptr ? *found : (fail("capability"), *found);
  }
  auto& core(const std::string& name) { return as<IPluginV3OneCore>(name, PluginCapabilityType::kCORE); }
  auto& build(const std::string& name) { return as<IPluginV3OneBuild>(name, PluginCapabilityType::kBUILD); }
  auto& runtime(const std::string& name) {
    return as<IPluginV3OneRuntime>(name, PluginCapabilityType::kRUNTIME);
  }
  std::string keep(const std::string& name, IPluginV3* plugin) {
    if (plugin != nullptr) plugins[name] = plugin;
    return boolean(plugin != nullptr);
  }
};

std::string creatorText(Session& s, const Words&) {
  return "[" + quoted(s.creator->getPluginName()) + ", " + quoted(s.creator->getPluginVersion()) + ", " +
         quoted(s.creator->getPluginNamespace()) + ", " + quoted(s.creator->getInterfaceInfo().kind) + ", " +
         fieldsText(s.creator->getFieldNames()) + "]";
}

std::string gpus(Session&, const Words&) {
  int count = 0;
  return std::to_string(cudaGetDeviceCount(&count) == cudaSuccess ? count : 0);
}

std::string create(Session& s, const Words& w) {  // NAME PHASE LAYER FIELD...
  const TensorRTPhase phase = w[2] == "runtime" ? TensorRTPhase::kRUNTIME : TensorRTPhase::kBUILD;
  Fields fields;
  for (size_t i = 4; i < w.size(); ++i) addField(fields, w[i]);
  fields.collection = {static_cast<int32_t>(fields.fields.size()), fields.fields.data()};
  return s.keep(w[1], s.creator->createPlugin(w[3].c_str(), &fields.collection, phase));
}

std::string createFromNothing(Session& s, const Words& w) {
  return s.keep(w[1], s.creator->createPlugin(nullptr, nullptr, TensorRTPhase::kBUILD));
}

std::string recreate(Session& s, const Words& w) {  // NAME FROM: what loading an engine does
  const auto* fields = s.runtime(w[2]).getFieldsToSerialize();
  return s.keep(w[1], s.creator->createPlugin("loaded", fields, TensorRTPhase::kRUNTIME));
}

std::string clone(Session& s, const Words& w) { return s.keep(w[1], s.plugin(w[2]).clone()); }

std::string attach(Session& s, const Words& w) {
  return s.keep(w[1], s.runtime(w[2]).attachToContext(&theContext));
}

std::string destroy(Session& s, const Words& w) {
  delete &s.plugin(w[1]);
  s.plugins.erase(w[1]);
  return "true";
}

std::string identity(Session& s, const Words& w) {
  auto& core = s.core(w[1]);
  auto& build = s.build(w[1]);
  return list(
      Words{core.getPluginName(), core.getPluginVersion(), core.getPluginNamespace(),
            build.getTimingCacheID(), build.getMetadataString(), std::to_string(build.getNbOutputs())},
      quoted);
}

std::string fieldsOf(Session& s, const Words& w) {
  return fieldsText(s.runtime(w[1]).getFieldsToSerialize());
}

std::string format(Session& s, const Words& w) {  // NAME POSITION TENSOR... (the last one is the output)
  const auto tensors = tensorsOf(w, 3);
  const auto inputs = static_cast<int32_t>(tensors.size()) - 1;
  return boolean(s.build(w[1]).supportsFormatCombination(std::stoi(w[2]), tensors.data(), inputs, 1));
}

std::string outputType(Session& s, const Words& w) {  // NAME TYPE...
  std::vector<DataType> types;
  for (size_t i = 2; i < w.size(); ++i) types.push_back(typeOf(w[i]));
  DataType output = DataType::kINT8;
  const auto count = static_cast<int32_t>(types.size());
  const int32_t status = s.build(w[1]).getOutputDataTypes(&output, 1, types.data(), count);
  return "[" + std::to_string(status) + ", " + std::to_string(static_cast<int32_t>(output)) + "]";
}

std::string outputShape(Session& s, const Words& w) {  // NAME DIMS...
  NoBuilder builder;
  std::vector<std::unique_ptr<Size>> sizes;
  std::vector<DimsExprs> inputs;
  for (size_t i = 2; i < w.size(); ++i) {
    const Dims dims = dimsOf(w[i]);
    DimsExprs exprs{};
    exprs.nbDims = dims.nbDims;
    for (int32_t axis = 0; axis < dims.nbDims; ++axis) {
      sizes.push_back(std::make_unique<Size>(dims.d[axis]));
      exprs.d[axis] = sizes.back().get();
    }
    inputs.push_back(exprs);
  }
  DimsExprs output{};
  const auto count = static_cast<int32_t>(inputs.size());
  const int32_t status = s.build(w[1]).getOutputShapes(inputs.data(), count, nullptr, 0, &output, 1, builder);
  std::vector<const IDimensionExpr*> found(output.d, output.d + output.nbDims);
  return "[" + std::to_string(status) + ", " +
         list(found, [](const IDimensionExpr* size) { return Size::text(*size); }) + "]";
}

std::string configure(Session& s, const Words& w) {  // NAME TENSOR... (the last one is the output)
  const auto tensors = tensorsOf(w, 2);
  const auto inputs = static_cast<int32_t>(tensors.size()) - 1;
  return std::to_string(s.build(w[1]).configurePlugin(tensors.data(), inputs, &tensors.back(), 1));
}

std::string workspace(Session& s, const Words& w) {  // NAME TENSOR...
  const auto tensors = tensorsOf(w, 2);
  const auto inputs = static_cast<int32_t>(tensors.size()) - 1;
  return std::to_string(s.build(w[1]).getWorkspaceSize(tensors.data(), inputs, &tensors.back(), 1));
}

std::string tactics(Session& s, const Words& w) {
  auto& build = s.build(w[1]);
  std::vector<int32_t> found(static_cast<size_t>(build.getNbTactics()));
  const int32_t status = build.getValidTactics(found.data(), static_cast<int32_t>(found.size()));
  return status != 0 ? "null" : list(found, [](int32_t tactic) { return std::to_string(tactic); });
}

std::string setTactic(Session& s, const Words& w) {  // NAME NUMBER
  return std::to_string(s.runtime(w[1]).setTactic(std::stoi(w[2])));
}

std::string shapeChange(Session& s, const Words& w) {  // NAME TENSOR...
  const auto tensors = concrete(tensorsOf(w, 2));
  const auto inputs = static_cast<int32_t>(tensors.size()) - 1;
  return std::to_string(s.runtime(w[1]).onShapeChange(tensors.data(), inputs, &tensors.back(), 1));
}

// NAME WORKSPACE_BYTES OUTPUT_BYTES OUTPUT_FILE TENSOR... -- INPUT_FILE...
std::string enqueue(Session& s, const Words& w) {
  Words described(w.begin() + 5, w.end());
  Words files;
  while (!described.empty() && described.back() != "--") {
    files.insert(files.begin(), described.back());
    described.pop_back();
  }
  described.pop_back();
  const auto tensors = concrete(tensorsOf(described, 0));
  std::vector<std::shared_ptr<char>> inputs;
  std::vector<const void*> addresses;
  for (const std::string& file : files) {
    inputs.push_back(fileContent(file));
    addresses.push_back(inputs.back().get());
  }
  const size_t bytes = std::stoull(w[3]);
  const auto memory = allocate(std::stoull(w[2])), y = allocate(bytes);
  void* outputs[] = {y.get()};
  const int32_t status = s.runtime(w[1]).enqueue(tensors.data(), &tensors.back(), addresses.data(), outputs,
                                                 memory.get(), nullptr);
  if (status != 0) return std::to_string(status);
  cudaDeviceSynchronize();
  std::ofstream(w[4], std::ios::binary).write(y.get(), static_cast<std::streamsize>(bytes));
  return "0";
}

const std::map<std::string, std::string (*)(Session&, const Words&)> commands = {
    {"gpus", gpus},
    {"creator", creatorText},
    {"create", create},
    {"create_from_nothing", createFromNothing},
    {"recreate", recreate},
    {"clone", clone},
    {"attach", attach},
    {"destroy", destroy},
    {"identity", identity},
    {"fields", fieldsOf},
    {"format", format},
    {"type", outputType},
    {"shape", outputShape},
    {"configure", configure},
    {"tactics", tactics},
    {"workspace", workspace},
    {"tactic", setTactic},
    {"enqueue", enqueue},
    {"shape_change", shapeChange}};

IPluginCreatorV3One* creatorOf(const char* path, bool quiet) {
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) fail(dlerror());
  const auto getCreators =
      reinterpret_cast<IPluginCreatorInterface* const* (*)(int32_t&)>(dlsym(library, "getCreators"));
  const auto setFinder = reinterpret_cast<void (*)(ILoggerFinder*)>(dlsym(library, "setLoggerFinder"));
  if (getCreators == nullptr || setFinder == nullptr) fail("getCreators or setLoggerFinder is not exported");
  if (!quiet) setFinder(&theLog);
  int32_t count = 0;
  IPluginCreatorInterface* const* creators = getCreators(count);
  if (count != 1) fail("expected one creator");
  return static_cast<IPluginCreatorV3One*>(creators[0]);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) fail("usage: harness PLUGIN.so [--no-logger]");
  Session session;
  session.creator = creatorOf(argv[1], argc > 2);
  for (std::string line; std::getline(std::cin, line);) {
    const Words words = split(line, ' ');
    if (words.empty() || commands.count(words[0]) == 0) fail("command " + line);
    const std::string result = commands.at(words[0])(session, words);
    std::cout << "{\"result\": " << result << ", \"log\": " << list(theLog.lines, quoted)
              << ", \"recorded\": " << list(theRecorder.errors, quoted) << "}" << std::endl;
    theLog.lines.clear();
    theRecorder.clear();
  }
  for (auto& plugin : session.plugins) delete plugin.second;
}
