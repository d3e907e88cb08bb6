#include "layer.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <new>
#include <vector>

namespace s4op {
namespace {

constexpr int kLanes = 16;  // the widest instruction set's floats; rows are padded to it

// The state costs 4 M multiply-adds a sample whatever the chunk: a short chunk then costs least. S4's dense
// step costs M M a chunk: a chunk of 64 makes that as much as each of the other products.
constexpr int kDiagonalChunk = 16, kDenseChunk = 64;

int padded(int64_t count) { return static_cast<int>((count + kLanes - 1) / kLanes * kLanes); }

void fillNear(const Weights& w, const Layer& layer, int64_t i, float* near) {
  const int chunk = layer.chunk;
  const float* k = w.k + i * w.taps;
  for (int from = 0; from < chunk; ++from) {
    for (int to = from; to < chunk && to - from < w.taps; ++to) near[from * chunk + to] = k[to - from];
    near[from * chunk + from] += w.d[i];
  }
}

void fillDiagonal(const Weights& w, const Layer& layer, int64_t i, float* reach, float* read, float* step) {
  const int chunk = layer.chunk, width = layer.width, half = width / 2;
  for (int64_t m = 0; m < w.states; ++m) {
    const float* pole = w.poles + (i * w.states + m) * 2;
    const float* residue = w.residues + (i * w.states + m) * 2;
    const std::complex<double> log(pole[0], pole[1]), c(residue[0], residue[1]);
    for (int t = 0; t < chunk; ++t) {
      const auto in = std::exp(log * double(chunk - 1 - t));
      reach[t * width + m] = static_cast<float>(in.real());
      reach[t * width + half + m] = static_cast<float>(in.imag());
      const auto out = 2.0 * c * std::exp(log * double(t + 1));
      read[m * chunk + t] = static_cast<float>(out.real());
      read[(half + m) * chunk + t] = static_cast<float>(-out.imag());
    }
    const auto power = std::exp(log * double(chunk));
    step[m] = static_cast<float>(power.real());
    step[half + m] = static_cast<float>(power.imag());
  }
}

using Matrix = std::vector<double>;  // (M, M), row by row

Matrix squared(const Matrix& a, int64_t n) {
  Matrix out(a.size());
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      for (int64_t l = 0; l < n; ++l) out[i * n + l] += a[i * n + j] * a[j * n + l];
    }
  }
  return out;
}

void fillDense(const Weights& w, const Layer& layer, int64_t i, float* reach, float* read, float* step) {
  const int64_t n = w.states;
  const int chunk = layer.chunk, width = layer.width;
  Matrix a(w.a + i * n * n, w.a + (i + 1) * n * n);
  std::vector<double> b(w.b + i * n, w.b + (i + 1) * n), c(w.c + i * n, w.c + (i + 1) * n);
  for (int t = 0; t < chunk; ++t) {  // b is a^t b, c is c a^t
    std::vector<double> nextB(n), nextC(n);
    for (int64_t m = 0; m < n; ++m) {
      reach[(chunk - 1 - t) * width + m] = static_cast<float>(b[m]);
      for (int64_t l = 0; l < n; ++l) {
        nextB[m] += a[m * n + l] * b[l];
        nextC[l] += c[m] * a[m * n + l];
      }
    }
    b = nextB;
    c = nextC;
    for (int64_t m = 0; m < n; ++m) read[m * chunk + t] = static_cast<float>(c[m]);
  }
  for (int power = 1; power < chunk; power *= 2) a = squared(a, n);
  for (int64_t from = 0; from < n; ++from) {
    for (int64_t to = 0; to < n; ++to) step[from * width + to] = static_cast<float>(a[to * n + from]);
  }
}

}  // namespace

Floats floats(size_t count) {
  return Floats(static_cast<float*>(::operator new(count * sizeof(float), std::align_val_t(64))));
}

Layer makeLayer(const Weights& weights) {
  Layer layer{};
  layer.dense = weights.poles == nullptr;
  layer.kept = weights.kept;
  layer.taps = weights.taps;
  layer.chunk = layer.dense ? kDenseChunk : kDiagonalChunk;
  layer.width = layer.dense ? padded(weights.states) : 2 * padded(weights.states);
  const size_t chunk = layer.chunk, width = layer.width;
  layer.stride = chunk * chunk + 2 * chunk * width + (layer.dense ? width * width : width);
  const size_t count = layer.stride * weights.kept;
  layer.data = floats(count);
  std::fill_n(layer.data.get(), count, 0.f);
  for (int64_t i = 0; i < weights.kept; ++i) {
    float* near = layer.data.get() + i * layer.stride;
    float* reach = near + chunk * chunk;
    float* read = reach + chunk * width;
    fillNear(weights, layer, i, near);
    (layer.dense ? fillDense : fillDiagonal)(weights, layer, i, reach, read, read + chunk * width);
  }
  return layer;
}

}  // namespace s4op
