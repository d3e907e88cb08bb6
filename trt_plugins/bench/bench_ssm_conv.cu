// Checks and times every tactic of SSMConv:
//
//   bench_ssm_conv [--check | --time] [--quick] [--sizes B,H,Hk,L[,M] ...]
//
// Without a choice: checks, then times. --sizes: what is timed, instead of what we report. --quick: fewer and
// smaller problems. Prints a table and one JSON object as its last line. Exit status: 0, 1 if a check failed,
// 2 without a CUDA device or for a wrong argument. Compiled without CUDA it checks on the CPU: --check.
#include "checks.h"

#ifdef __CUDACC__
#include "timing.h"
#endif

namespace s4op::bench {

struct Options {
  bool check = true, time = true, quick = false;
  std::vector<Sizes> sizes;
};

Sizes parsedSizes(const char* text) {
  Sizes s{0, 0, 0, 0, 32};
  const int found = std::sscanf(text, "%d,%d,%d,%d,%d", &s.batch, &s.channels, &s.kept, &s.length, &s.modes);
  if (found < 4 || s.batch < 1 || s.kept < 1 || s.kept > s.channels || s.length < 1 || s.modes < 1) {
    throw std::runtime_error(std::string("sizes are B,H,Hk,L or B,H,Hk,L,M, found ") + text);
  }
  return s;
}

Options parsed(int count, char** arguments) {
  Options options;
  for (int i = 1; i < count; ++i) {
    const std::string argument = arguments[i];
    if (argument == "--check") options.time = false;
    else if (argument == "--time") options.check = false;
    else if (argument == "--quick") options.quick = true;
    else if (argument == "--sizes" && i + 1 < count) options.sizes.push_back(parsedSizes(arguments[++i]));
    else throw std::runtime_error("unknown argument " + argument);
  }
  if (options.sizes.empty()) {
    for (int length : {150, 427, 1024, 2048, 4096, 16384}) {
      for (int channels : {128, 256}) {
        for (int kept : {channels, channels / 2}) options.sizes.push_back({1, channels, kept, length, 32});
      }
    }
    for (int length : {256, 1024, 4096}) options.sizes.push_back({16, 128, 128, length, 32});
    if (options.quick)
      options.sizes = {{1, 128, 128, 427, 32}, {1, 128, 128, 1024, 32}, {1, 128, 128, 4096, 32}};
  }
  return options;
}

#ifdef __CUDACC__

struct Row {
  Sizes sizes;
  const char* name;
  double warm, cold, floor;  // seconds
};

std::vector<Row> timings(const Options& options, const Device& device, double bandwidth) {
  std::vector<Row> rows;
  const int rounds = options.quick ? 7 : 21;
  std::printf("%-14s %4s %5s %5s %6s %12s %12s %10s %8s\n", "tactic", "B", "H", "kept", "L", "in L2 us",
              "not in L2 us", "floor us", "of floor");
  for (const Sizes& sizes : options.sizes) {
    const HostLayer layer(sizes);
    for (const Variant& variant : kVariants) {
      if (!supports(variant.tactic, problemOf(sizes, variant.type, true), device.sharedBytes)) continue;
      const Row row{sizes, variant.name, launchSeconds(variant, layer, 1, rounds),
                    launchSeconds(variant, layer, coldSets(variant, sizes, device), rounds),
                    floorSeconds(variant, sizes, device, bandwidth)};
      std::printf("%-14s %4d %5d %5d %6d %12.2f %12.2f %10.2f %7.0f%%\n", row.name, sizes.batch,
                  sizes.channels, sizes.kept, sizes.length, row.warm * 1e6, row.cold * 1e6, row.floor * 1e6,
                  100 * row.floor / row.cold);
      std::fflush(stdout);
      rows.push_back(row);
    }
  }
  return rows;
}

std::string json(const Device& device, double bandwidth, const CheckCount& checks,
                 const std::vector<Row>& rows) {
  char text[512];
  std::snprintf(
      text, sizeof text,
      "{\"gpu\": \"%s\", \"compute_capability\": \"%d.%d\", \"bandwidth_gb_s\": %.1f, \"checks\": %d, "
      "\"failed\": %d, \"timings\": [",
      device.name.c_str(), device.major, device.minor, bandwidth * 1e-9, checks.done, checks.failed);
  std::string all = text;
  for (size_t i = 0; i < rows.size(); ++i) {
    const Row& r = rows[i];
    std::snprintf(text, sizeof text,
                  "%s{\"tactic\": \"%s\", \"batch\": %d, \"channels\": %d, \"kept\": %d, \"length\": %d, "
                  "\"modes\": %d, "
                  "\"warm_us\": %.3f, \"cold_us\": %.3f, \"floor_us\": %.3f}",
                  i == 0 ? "" : ", ", r.name, r.sizes.batch, r.sizes.channels, r.sizes.kept, r.sizes.length,
                  r.sizes.modes, r.warm * 1e6, r.cold * 1e6, r.floor * 1e6);
    all += text;
  }
  return all + "]}";
}

int run(const Options& options) {
  const Device device = presentDevice();
  std::printf("# bench_ssm_conv on %s, sm_%d%d, %d multiprocessors, %.1f MiB of L2\n", device.name.c_str(),
              device.major, device.minor, device.multiprocessors,
              static_cast<double>(device.l2Bytes) / (1 << 20));
  CheckCount checks;
  if (options.check) checks = runChecks(options.quick, device.sharedBytes);
  if (options.check) std::printf("checks: %d, wrong: %d\n", checks.done, checks.failed);
  double bandwidth = 0;
  std::vector<Row> rows;
  if (options.time) {
    bandwidth = measuredBandwidth(device);
    std::printf("memory: %.1f GB/s by a copy\n", bandwidth * 1e-9);
    rows = timings(options, device, bandwidth);
  }
  std::printf("%s\n", json(device, bandwidth, checks, rows).c_str());
  return checks.failed == 0 ? 0 : 1;
}

#else

int run(const Options& options) {
  if (!options.check || options.time) throw std::runtime_error("compiled without CUDA: --check only");
  const CheckCount checks = runChecks(options.quick, 163 * 1024);  // as on an Orin
  std::printf("{\"gpu\": null, \"checks\": %d, \"failed\": %d}\n", checks.done, checks.failed);
  return checks.failed == 0 ? 0 : 1;
}

#endif

}  // namespace s4op::bench

int main(int count, char** arguments) {
  try {
    return s4op::bench::run(s4op::bench::parsed(count, arguments));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_ssm_conv: %s\n", error.what());
    return 2;
  }
}
