// The kernels, once per instruction set: a rows_*.cpp defines what differs and includes this file. No
// standard templates in here: compiled for one instruction set, the linker might keep them for all.
//
//   S4OP_ISA, S4OP_ISA_NAME   the InstructionSet defined here, and what it is called
//   S4OP_TARGET               attribute of every function: what the compiler may use
//   S4OP_LANES                floats of a vector
//   S4OP_TILE                 rows, vectors of a product's tile: its sums stay in registers
//   S4OP_NARROW_ROWS          rows of a tile one vector wide
//   S4OP_GROUP                chunks done together, a multiple of both: for S4D with 32 modes they and the
//                             operator's matrices fit into a first-level cache of 32 KB, for S4 into the second
#include <cstring>

#include "rows.h"

#define S4OP_INLINE static inline __attribute__((always_inline)) S4OP_TARGET

namespace s4op {
namespace {

constexpr int kLanes = S4OP_LANES, kGroup = S4OP_GROUP, kNarrowRows = S4OP_NARROW_ROWS;
typedef float Vec __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));
typedef int32_t Ints __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));

S4OP_INLINE Vec load(const float* p) { return *reinterpret_cast<const Vec*>(p); }
S4OP_INLINE void store(float* p, Vec v) { *reinterpret_cast<Vec*>(p) = v; }

// 2^v for v in [-126, 127]: the Taylor series of 2^f, |f| <= 1/2, to a relative error of 2e-7.
S4OP_INLINE Vec exp2(Vec v) {
  const float shift = 12582912.f;  // 1.5 * 2^23: adding it rounds to the next whole number
  const Vec whole = (v + shift) - shift;
  const Vec f = v - whole;
  Vec p = f * 1.54035304e-4f + 1.33335581e-3f;
  p = p * f + 9.61812911e-3f;
  p = p * f + 5.55041087e-2f;
  p = p * f + 2.40226507e-1f;
  p = p * f + 6.93147181e-1f;
  p = p * f + 1.f;
  const Ints bits = (__builtin_convertvector(whole, Ints) + 127) << 23;
  return p * reinterpret_cast<const Vec&>(bits);
}

// x Phi(x) with Phi(-z sqrt 2) = erfc(z) / 2 and erfc(z) = exp(-z q(z)). q is a polynomial fitted on
// [0, 4.25], absolute error of z erfc(z) below 3e-9; behind 4.25 erfc(z) z is less than 1e-8 and taken as 0.
S4OP_INLINE Vec gelu(Vec x) {
  const Vec scaled = x * 0.707106781f;
  const Vec z = scaled < 0.f ? -scaled : scaled;
  const Vec in = z > 4.25f ? Vec{} + 4.25f : z;
  Vec q = in * -6.16180721e-6f + 8.65208063e-5f;
  q = q * in - 5.05125571e-4f;
  q = q * in + 1.39002566e-3f;
  q = q * in + 1.83348919e-4f;
  q = q * in - 1.93997520e-2f;
  q = q * in + 1.02876154e-1f;
  q = q * in + 6.36599920e-1f;
  q = q * in + 1.12838059f;
  const Vec tail = exp2(q * in * -1.44269504f) * 0.5f;
  const Vec half = z > 4.25f ? Vec{} : tail;
  return x * (x < 0.f ? half : 1.f - half);
}

// sums[r][v] += sum over i < depth of a[r][i] b[i][v]; rows of a and b are lda and ldb floats apart.
template <int ROWS, int VECS>
S4OP_INLINE void accumulate(Vec (&sums)[ROWS][VECS], const float* a, int lda, const float* b, int ldb, int depth) {
  for (int i = 0; i < depth; ++i) {
    Vec row[VECS];
    for (int v = 0; v < VECS; ++v) row[v] = load(b + i * ldb + v * kLanes);
    for (int r = 0; r < ROWS; ++r) {
      for (int v = 0; v < VECS; ++v) sums[r][v] += a[r * lda + i] * row[v];
    }
  }
}

// ROWS chunks from the j-th on, and the columns `from` to `from` + VECS vectors, of: added = u reach.
template <int ROWS, int VECS>
S4OP_INLINE void addToStatesTile(const Layer& layer, int64_t i, const float* u, float* added, int j, int from) {
  const int chunk = layer.chunk, width = layer.width;
  Vec sums[ROWS][VECS] = {};
  accumulate<ROWS, VECS>(sums, u + j * chunk, chunk, layer.reach(i) + from, width, chunk);
  for (int r = 0; r < ROWS; ++r) {
    for (int v = 0; v < VECS; ++v) store(added + (j + r) * width + from + v * kLanes, sums[r][v]);
  }
}

// The same of: y = u near + states read. near is 0 where the sample comes after the output.
template <int ROWS, int VECS>
S4OP_INLINE void outputsTile(const Layer& layer, int64_t i, const float* u, const float* states, float* y, int j,
                             int from, bool withGelu) {
  const int chunk = layer.chunk, width = layer.width, to = from + VECS * kLanes;
  Vec sums[ROWS][VECS] = {};
  accumulate<ROWS, VECS>(sums, u + j * chunk, chunk, layer.near(i) + from, chunk, to < chunk ? to : chunk);
  if (states != nullptr) {
    accumulate<ROWS, VECS>(sums, states + j * width, width, layer.read(i) + from, chunk, width);
  }
  for (int r = 0; r < ROWS; ++r) {
    for (int v = 0; v < VECS; ++v) {
      store(y + (j + r) * chunk + from + v * kLanes, withGelu ? gelu(sums[r][v]) : sums[r][v]);
    }
  }
}

// What is left of the chunks after the last whole tile is done in tiles of so many rows.
constexpr int fewer(int rows) { return rows % 4 == 0 ? rows / 4 : rows / 3; }

template <int ROWS, int VECS>
S4OP_TARGET void addToStates(const Layer& layer, int64_t i, const float* u, float* added, int chunks, int from) {
  int j = 0;
  for (; j + ROWS <= chunks; j += ROWS) addToStatesTile<ROWS, VECS>(layer, i, u, added, j, from);
  for (; j < chunks; j += fewer(ROWS)) addToStatesTile<fewer(ROWS), VECS>(layer, i, u, added, j, from);
}

template <int ROWS, int VECS>
S4OP_TARGET void outputs(const Layer& layer, int64_t i, const float* u, const float* states, float* y, int chunks,
                         int from, bool withGelu) {
  int j = 0;
  for (; j + ROWS <= chunks; j += ROWS) outputsTile<ROWS, VECS>(layer, i, u, states, y, j, from, withGelu);
  for (; j < chunks; j += fewer(ROWS)) outputsTile<fewer(ROWS), VECS>(layer, i, u, states, y, j, from, withGelu);
}

// Replaces what each chunk adds by the state before it; `state` goes on from group to group.
S4OP_TARGET void scanDiagonal(const float* step, int width, float* state, float* added, int chunks) {
  const int half = width / 2;
  for (int v = 0; v < half; v += kLanes) {
    Vec re = load(state + v), im = load(state + half + v);
    const Vec stepRe = load(step + v), stepIm = load(step + half + v);
    for (int j = 0; j < chunks; ++j) {
      float* at = added + j * width + v;
      const Vec addRe = load(at), addIm = load(at + half);
      store(at, re);
      store(at + half, im);
      const Vec next = stepRe * re + (addRe - stepIm * im);
      im = stepRe * im + (addIm + stepIm * re);
      re = next;
    }
    store(state + v, re);
    store(state + half + v, im);
  }
}

template <int VECS>
S4OP_INLINE void stepDense(const float* step, int width, const float* state, const float* added, float* next,
                           int from) {
  Vec sums[1][VECS];
  for (int v = 0; v < VECS; ++v) sums[0][v] = load(added + from + v * kLanes);
  accumulate<1, VECS>(sums, state, width, step + from, width, width);
  for (int v = 0; v < VECS; ++v) store(next + from + v * kLanes, sums[0][v]);
}

S4OP_TARGET void scanDense(const float* step, int width, float* state, float* added, int chunks) {
  float* next = state + width;
  for (int j = 0; j < chunks; ++j) {
    float* at = added + j * width;
    int v = 0;
    for (; v + 4 * kLanes <= width; v += 4 * kLanes) stepDense<4>(step, width, state, at, next, v);
    for (; v < width; v += kLanes) stepDense<1>(step, width, state, at, next, v);
    std::memcpy(at, state, width * sizeof(float));
    std::memcpy(state, next, width * sizeof(float));
  }
}

template <int ROWS, int VECS>
S4OP_TARGET void nextStates(const Layer& layer, int64_t i, const float* u, int chunks, float* state, float* added) {
  constexpr int tile = VECS * kLanes;
  int v = 0;
  for (; v + tile <= layer.width; v += tile) addToStates<ROWS, VECS>(layer, i, u, added, chunks, v);
  for (; v < layer.width; v += kLanes) addToStates<kNarrowRows, 1>(layer, i, u, added, chunks, v);
  (layer.dense ? scanDense : scanDiagonal)(layer.step(i), layer.width, state, added, chunks);
}

// `added` is scratch; null: there was and will be no other chunk, so there is no state.
template <int ROWS, int VECS>
S4OP_TARGET void convolveGroup(const Layer& layer, int64_t i, const float* u, float* y, int chunks, bool withGelu,
                               float* state, float* added) {
  constexpr int tile = VECS * kLanes;
  static_assert(kGroup % ROWS == 0 && kGroup % kNarrowRows == 0, "a tile must not reach behind its group");
  if (added != nullptr) nextStates<ROWS, VECS>(layer, i, u, chunks, state, added);
  int v = 0;
  for (; v + tile <= layer.chunk; v += tile) outputs<ROWS, VECS>(layer, i, u, added, y, chunks, v, withGelu);
  for (; v < layer.chunk; v += kLanes) outputs<kNarrowRows, 1>(layer, i, u, added, y, chunks, v, withGelu);
}

// Two states (the dense step needs the next beside the last), what a group adds, its samples and outputs.
S4OP_TARGET size_t scratchFloats(const Layer& layer) {
  return size_t(layer.width) * (2 + kGroup) + 2 * size_t(layer.chunk) * kGroup;
}

S4OP_INLINE void clear(float* p, int64_t count) { std::memset(p, 0, count * sizeof(float)); }

S4OP_TARGET void convolve(const Layer& layer, int64_t i, const float* x, float* y, int64_t length, bool withGelu,
                          float* scratch) {
  const int chunk = layer.chunk, width = layer.width, group = chunk * kGroup;
  float *state = scratch, *added = state + 2 * width;
  float *samples = added + width * kGroup, *results = samples + group;
  clear(state, width);
  int64_t done = 0;
  for (; done + group <= length; done += group) {
    convolveGroup<S4OP_TILE>(layer, i, x + done, y + done, kGroup, withGelu, state, added);
  }
  if (done == length) return;
  // The last group is not whole: it is done on copies. Missing samples are 0, and so is what tiles read that
  // reach behind the last chunk.
  const int64_t rest = length - done;
  const int chunks = static_cast<int>((rest + chunk - 1) / chunk);
  const int rows = (chunks + kNarrowRows - 1) / kNarrowRows * kNarrowRows;
  std::memcpy(samples, x + done, rest * sizeof(float));
  clear(samples + rest, int64_t(rows) * chunk - rest);
  clear(added + chunks * width, int64_t(rows - chunks) * width);
  convolveGroup<S4OP_TILE>(layer, i, samples, results, chunks, withGelu, state, length > chunk ? added : nullptr);
  std::memcpy(y + done, results, rest * sizeof(float));
}

S4OP_TARGET void geluOf(const float* x, float* y, int64_t length) {
  int64_t i = 0;
  for (; i + kLanes <= length; i += kLanes) store(y + i, gelu(load(x + i)));
  if (i == length) return;
  float rest[kLanes] = {};
  std::memcpy(rest, x + i, (length - i) * sizeof(float));
  store(rest, gelu(load(rest)));
  std::memcpy(y + i, rest, (length - i) * sizeof(float));
}

}  // namespace

const InstructionSet S4OP_ISA = {S4OP_ISA_NAME, convolve, scratchFloats, geluOf};

}  // namespace s4op
