// Every instruction set of this processor over buffers that end where their tensors do, for sanitizers.
#include <cmath>
#include <cstdio>
#include <vector>

#include "rows.h"

using namespace s4op;

static float value(int i) { return 0.01f * static_cast<float>(i * 7919 % 101 - 50); }

static std::vector<float> values(size_t count) {
  std::vector<float> v(count);
  for (size_t i = 0; i < count; ++i) v[i] = value(static_cast<int>(i));
  return v;
}

static int64_t runs = 0;

static void runAll(const InstructionSet& set, bool dense, int64_t states, int64_t length) {
  const int64_t kept = 2;
  const auto k = values(kept * length), d = values(kept), form = values(kept * states * (dense ? states : 2));
  const auto b = values(kept * states * (dense ? 1 : 2)), c = values(kept * states), x = values(length);
  Weights w{};
  w.kept = kept;
  w.taps = length;
  w.states = states;
  w.k = k.data();
  w.d = d.data();
  (dense ? w.a : w.poles) = form.data();
  (dense ? w.b : w.residues) = b.data();
  if (dense) w.c = c.data();
  const Layer layer = makeLayer(w);
  std::vector<float> y(length), scratch(set.scratchFloats(layer));
  for (int64_t i = 0; i < kept; ++i) set.convolve(layer, i, x.data(), y.data(), length, i == 0, scratch.data());
  set.gelu(x.data(), y.data(), length);
  ++runs;
}

int main() {
  std::vector<const InstructionSet*> sets = {&kBase};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) sets.push_back(&kAvx2);
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
    sets.push_back(&kAvx512);
#endif
  for (const auto* set : sets) {
    for (int64_t length : {1, 15, 16, 17, 63, 65, 511, 512, 513, 769, 1537, 3073}) {
      for (int64_t states : {1, 5, 16, 17, 33}) {
        runAll(*set, false, states, length);
        runAll(*set, true, states, length);
      }
    }
  }
  std::printf("%lld runs\n", static_cast<long long>(runs));
}
