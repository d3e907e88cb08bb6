// Random layers and inputs on the host, and the operator in double on them.
#pragma once

#include <algorithm>
#include <cmath>
#include <complex>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "../kernels/ssm_conv.h"

namespace s4op::bench {

#ifdef __CUDACC__
inline Half halfOf(float value) { return __float2half_rn(value); }
inline float floatOf(Half value) { return __half2float(value); }
#else
inline Half halfOf(float value) { return fromFloat<Half>(value); }
inline float floatOf(Half value) { return toFloat(value); }
#endif

struct Sizes {
  int batch, channels, kept, length, modes;

  std::string text() const {
    return "B=" + std::to_string(batch) + " H=" + std::to_string(channels) + " kept=" + std::to_string(kept) +
           " L=" + std::to_string(length) + " M=" + std::to_string(modes);
  }
};

// Operators as S4D's initialisation makes them: A = -1/2 + i pi n, dt log-uniform in [1e-3, 1e-1].
struct HostLayer {
  Sizes sizes;
  std::vector<int32_t> channels;          // (Hk), spread evenly
  std::vector<float> k;                   // (Hk, L), what the poles and residues give
  std::vector<float> d, poles, residues;  // (Hk), (Hk, M, 2), (Hk, M, 2)

  explicit HostLayer(const Sizes& s) : sizes(s), k(static_cast<size_t>(s.kept) * s.length) {
    std::mt19937_64 random(static_cast<uint64_t>(s.length) * 1009 + s.channels);
    std::normal_distribution<double> normal;
    std::uniform_real_distribution<double> logDt(std::log(1e-3), std::log(1e-1));
    for (int i = 0; i < s.kept; ++i) {
      channels.push_back(static_cast<int32_t>(static_cast<int64_t>(i) * s.channels / s.kept));
      d.push_back(static_cast<float>(normal(random)));
      const double dt = std::exp(logDt(random));
      for (int m = 0; m < s.modes; ++m) addMode(i, m, dt, {normal(random), normal(random)});
    }
  }

 private:
  // Pole and residue m of operator i, rounded to float, and their part of the kernel.
  void addMode(int i, int m, double dt, std::complex<double> c) {
    constexpr double kPi = 3.14159265358979323846;
    const std::complex<double> a(-0.5, kPi * m);
    const std::complex<double> residue = c * std::sqrt(0.5) * (std::exp(dt * a) - 1.0) / a;
    poles.push_back(static_cast<float>(dt * a.real()));
    poles.push_back(static_cast<float>(std::remainder(dt * a.imag(), 2 * kPi)));
    residues.push_back(static_cast<float>(residue.real()));
    residues.push_back(static_cast<float>(residue.imag()));
    const std::complex<double> step = std::exp(std::complex<double>(*(poles.end() - 2), poles.back()));
    std::complex<double> power(*(residues.end() - 2), residues.back());
    for (int t = 0; t < sizes.length; ++t, power *= step) {
      k[static_cast<size_t>(i) * sizes.length + t] += static_cast<float>(2 * power.real());
    }
  }
};

// (B, H, L) normal values, rounded to `type`.
inline std::vector<float> randomInput(const Sizes& s, Type type) {
  std::mt19937_64 random(static_cast<uint64_t>(s.batch) * 7919 + s.length);
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(s.batch) * s.channels * s.length);
  for (float& value : x) {
    value = normal(random);
    if (type == Type::kHalf) value = floatOf(halfOf(value));
  }
  return x;
}

// y (B, H, L) before GELU, by the sum itself.
inline std::vector<double> reference(const HostLayer& layer, const std::vector<float>& x) {
  const Sizes& s = layer.sizes;
  std::vector<double> y(x.begin(), x.end());
  for (int b = 0; b < s.batch; ++b) {
    for (int i = 0; i < s.kept; ++i) {
      const size_t row = (static_cast<size_t>(b) * s.channels + layer.channels[i]) * s.length;
      const float* k = &layer.k[static_cast<size_t>(i) * s.length];
      for (int t = 0; t < s.length; ++t) {
        double sum = static_cast<double>(layer.d[i]) * x[row + t];
        for (int j = 0; j <= t; ++j) sum += static_cast<double>(k[j]) * x[row + t - j];
        y[row + t] = sum;
      }
    }
  }
  return y;
}

inline double geluOf(double x) { return 0.5 * x * (1.0 + std::erf(x * std::sqrt(0.5))); }

// Relative RMS error over the kept channels' outputs; infinite if a value is not finite.
inline double relativeError(const HostLayer& layer, const std::vector<float>& y,
                            const std::vector<double>& wanted, bool gelu) {
  const Sizes& s = layer.sizes;
  double error = 0, scale = 0;
  for (int b = 0; b < s.batch; ++b) {
    for (int32_t channel : layer.channels) {
      const size_t row = (static_cast<size_t>(b) * s.channels + channel) * s.length;
      for (size_t i = row; i < row + s.length; ++i) {
        const double expected = gelu ? geluOf(wanted[i]) : wanted[i];
        error += (y[i] - expected) * (y[i] - expected);
        scale += expected * expected;
      }
    }
  }
  return std::isfinite(error) ? std::sqrt(error / scale) : INFINITY;
}

}  // namespace s4op::bench
