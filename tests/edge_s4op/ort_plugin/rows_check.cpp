// Every instruction set of this processor against the recurrence in double precision, over buffers that end
// where their tensors do (for sanitizers). Prints the runs and the largest relative RMS error; 1 if it is large.
#include <algorithm>
#include <cmath>
#include <complex>
#include <cstdio>
#include <vector>

#include "rows.h"

using namespace s4op;

using Doubles = std::vector<double>;
using Singles = std::vector<float>;

// In [-1, 1), the same at every call with the same i.
static double noise(int64_t i) { return static_cast<double>((i * 7919 + 13) % 1009) / 504.5 - 1; }

static Singles singles(const Doubles& values) { return Singles(values.begin(), values.end()); }

// One operator's weights, float32, and what they do to x in double precision.
struct Operator {
  bool dense;
  int64_t states;
  Singles k, d, form, b, c;

  Operator(bool isDense, int64_t count, int64_t length) : dense(isDense), states(count), d{0.3f} {
    Doubles f(states * (dense ? states : 2)), in(states * (dense ? 1 : 2)), out(dense ? states : 0);
    for (size_t i = 0; i < f.size(); ++i) {
      // A contraction; or poles e^(re + i im) within the unit circle.
      f[i] = dense ? noise(i) / static_cast<double>(states) : i % 2 ? 3 * noise(i) : -0.02 * (1.1 + noise(i));
    }
    for (size_t i = 0; i < in.size(); ++i) in[i] = noise(i + 5) / static_cast<double>(states);
    for (size_t i = 0; i < out.size(); ++i) out[i] = noise(i + 9);
    form = singles(f);
    b = singles(in);
    c = singles(out);
    Doubles impulse(length);
    impulse[0] = 1;
    k = singles(recurrence(impulse));
  }

  Doubles recurrence(const Doubles& x) const { return dense ? denseRecurrence(x) : diagonalRecurrence(x); }

  Doubles diagonalRecurrence(const Doubles& x) const {
    std::vector<std::complex<double>> state(states);
    Doubles y(x.size());
    for (size_t t = 0; t < x.size(); ++t) {
      for (int64_t m = 0; m < states; ++m) {
        state[m] = std::exp(std::complex<double>(form[2 * m], form[2 * m + 1])) * state[m] + x[t];
        y[t] += 2 * (std::complex<double>(b[2 * m], b[2 * m + 1]) * state[m]).real();
      }
    }
    return y;
  }

  Doubles denseRecurrence(const Doubles& x) const {
    Doubles state(states), y(x.size());
    for (size_t t = 0; t < x.size(); ++t) {
      Doubles next(states);
      for (int64_t m = 0; m < states; ++m) {
        next[m] = b[m] * x[t];
        for (int64_t l = 0; l < states; ++l) next[m] += double(form[m * states + l]) * state[l];
        y[t] += c[m] * next[m];
      }
      state = next;
    }
    return y;
  }

  Weights weights() const {
    const auto length = static_cast<int64_t>(k.size());
    Weights w{1, length, states, k.data(), d.data(), nullptr, nullptr, nullptr, nullptr, nullptr};
    (dense ? w.a : w.poles) = form.data();
    (dense ? w.b : w.residues) = b.data();
    if (dense) w.c = c.data();
    return w;
  }
};

static double gelu(double x) { return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0))); }

static double error(const Singles& found, const Doubles& expected) {
  double off = 0, size = 1e-30;
  for (size_t t = 0; t < found.size(); ++t) {
    off += std::pow(found[t] - expected[t], 2);
    size += std::pow(expected[t], 2);
  }
  return std::sqrt(off / size);
}

int main() {
  std::vector<const InstructionSet*> sets = {&kBase};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) sets.push_back(&kAvx2);
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
    sets.push_back(&kAvx512);
#endif
  int runs = 0;
  double worst = 0;
  for (int64_t length : {1, 15, 16, 17, 63, 65, 511, 512, 513, 769, 1537, 3073}) {
    Doubles x(length);
    for (int64_t t = 0; t < length; ++t) x[t] = static_cast<float>(3 * noise(t * 31));
    const Singles samples = singles(x);
    for (int64_t states : {1, 5, 16, 17, 33}) {
      for (bool dense : {false, true}) {
        const Operator op(dense, states, length);
        const Layer layer = makeLayer(op.weights());
        Doubles expected = op.recurrence(x), passed(length);
        for (int64_t t = 0; t < length; ++t) {
          expected[t] = gelu(expected[t] + op.d[0] * x[t]);
          passed[t] = gelu(x[t]);
        }
        for (const auto* set : sets) {
          Singles y(length), scratch(set->scratchFloats(layer));
          set->convolve(layer, 0, samples.data(), y.data(), length, true, scratch.data());
          worst = std::max(worst, error(y, expected));
          set->gelu(samples.data(), y.data(), length);
          worst = std::max(worst, error(y, passed));
          ++runs;
        }
      }
    }
  }
  std::printf("%d runs, %s to %s, error %.2g\n", runs, sets.front()->name, sets.back()->name, worst);
  return worst < 5e-6 ? 0 : 1;
}
