// The matrices of the chunked scan (see scan.cu) and where they lie in shared memory.
#pragma once

#include "pack.h"
#include "tile.h"

namespace s4op {
namespace scan {

constexpr int kWarps = 8;
constexpr int kChunk = 64;                 // samples of a chunk
constexpr int kMaxTiles = 2;               // of 16 chunks, in a pass
constexpr int kSegment = 8;                // powers a thread makes by multiplication from one exact power
constexpr int kLead = kChunk + 8;          // of what is as wide as a chunk; rows start in different banks
constexpr int kTapsUsed = kTile + kChunk;  // sixteen zeros, then k[0] as zero, k[1], ...
constexpr int kTops = kChunk / kPack;

struct alignas(2 * sizeof(float)) Complex {
  float re, im;
};

S4OP_DEVICE Complex operator*(Complex a, Complex b) {
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}

// exp(t pole) for a whole t up to 64. The phase is reduced with what float products leave out: a^64 is
// applied as often as there are chunks, and rounding of its phase would add up.
S4OP_DEVICE Complex power(Complex pole, float t) {
  constexpr float kInverseHigh = 0.318309873f, kInverseLow = 1.28412765e-08f;  // 1 / pi
  const float turns = pole.im * kInverseHigh;                                  // half turns a sample
  const float rest = fmaf(pole.im, kInverseHigh, -turns) + pole.im * kInverseLow;
  const float product = t * turns;
  const float error = fmaf(t, turns, -product) + t * rest;
  const float reduced = fmaf(-2.0f, rintf(0.5f * product), product);  // exact
  Complex direction;
  cosSinPi(reduced + error, direction.re, direction.im);
  const float magnitude = expf(t * pole.re);
  return {magnitude * direction.re, magnitude * direction.im};
}

// V is what it stands for divided by `taps`, B by 2^exponent taps; both powers of two.
struct Scales {
  int exponent;
  float taps;
};

// Where things lie in shared memory, in bytes; y takes the place of S.
struct Layout {
  int columns;  // 2 M, padded
  int leadX;    // of B and X
  int leadS;
  int modes;  // M, padded to a pack
  int v, b, c, u, x, s, bases, advances, carries, sizes, tops, taps, factors, scales, bytes;
};

template <typename T> Layout layoutOf(int modes) {
  Layout l{};
  const int element = static_cast<int>(sizeof(T)), word = static_cast<int>(sizeof(float));
  const int pair = static_cast<int>(sizeof(Complex)), rows = kMaxTiles * kTile;
  l.columns = (2 * modes + kTile - 1) / kTile * kTile;
  l.leadX = l.columns + 8;
  l.leadS = l.leadX > kLead ? l.leadX : kLead;
  l.modes = (modes + kPack - 1) / kPack * kPack;
  l.b = l.v + kTile * kLead * element;
  l.c = l.b + kChunk * l.leadX * element;
  l.u = l.c + l.columns * kLead * element;
  l.x = l.u + rows * kLead * element;
  l.s = l.x + rows * l.leadX * element;
  l.bases = l.s + rows * l.leadS * word;
  l.advances = l.bases + l.modes * pair;
  l.carries = l.advances + l.modes * pair;
  l.sizes = l.carries + l.modes * pair;
  l.tops = l.sizes + kMaxTiles * l.modes * word;
  l.taps = l.tops + kTops * word;
  l.factors = l.taps + kTapsUsed * word;
  l.scales = l.factors + kMaxTiles * word;
  l.bytes = l.scales + static_cast<int>(sizeof(Scales));
  return l;
}

// V, a pack of columns a thread; neighbours in different rows, so that no two read the same bank.
template <typename T> S4OP_DEVICE void makeTaps(T* v, const float* taps, int thread, float scale) {
  const int i = thread % kTile, s = thread / kTile * kPack;
  Pack<T> pack;
  S4OP_UNROLL
  for (int j = 0; j < kPack; ++j) pack.v[j] = fromFloat<T>(scale * taps[kTile + s + j - i]);
  packAt(v + i * kLead + s) = pack;
}

// Of mode m, rows of B and columns of C: the powers from `start` on, a = exp(pole).
template <typename T>
S4OP_DEVICE void makePowers(T* b, T* c, const Layout& l, int m, int start, Complex pole, Complex a,
                            Complex residue, float scale) {
  const Complex weight = {2.0f * scale * residue.re, 2.0f * scale * residue.im};
  Complex now = power(pole, static_cast<float>(start));
  b += (kChunk - 1 - start) * l.leadX + 2 * m;
  c += 2 * m * kLead + start;
  S4OP_UNROLL
  for (int p = 0; p < kSegment; p += kPack) {
    Pack<T> re, im;
    S4OP_UNROLL
    for (int j = 0; j < kPack; ++j) {
      const Complex scaled = weight * now;
      *reinterpret_cast<Pack<T, 2>*>(b - (p + j) * l.leadX) = {fromFloat<T>(scaled.re),
                                                               fromFloat<T>(scaled.im)};
      now = now * a;
      re.v[j] = fromFloat<T>(now.re);
      im.v[j] = fromFloat<T>(-now.im);
    }
    packAt(c + p) = re;
    packAt(c + kLead + p) = im;
  }
}

}  // namespace scan
}  // namespace s4op
