// Complex numbers and small Fourier transforms held in registers, for fft.cu.
//
// Arrays stay in registers only if every index is known when compiling: all loops here are unrolled.
#pragma once

#include "device.h"

namespace s4op {

struct alignas(8) Complex {
  float re, im;
};

S4OP_DEVICE Complex operator+(Complex a, Complex b) { return {a.re + b.re, a.im + b.im}; }
S4OP_DEVICE Complex operator-(Complex a, Complex b) { return {a.re - b.re, a.im - b.im}; }
S4OP_DEVICE Complex operator*(Complex a, Complex b) {
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
S4OP_DEVICE Complex conjugate(Complex a) { return {a.re, -a.im}; }

// The compiler forgets where the value came from: what is made from it again is not kept in registers.
S4OP_DEVICE void forgetOrigin(Complex& a) {
#ifdef __CUDACC__
  asm volatile("" : "+f"(a.re), "+f"(a.im));
#else
  static_cast<void>(a);
#endif
}

// exp(i pi x)
S4OP_DEVICE Complex cisPi(float x) {
  Complex value;
  cosSinPi(x, value.re, value.im);
  return value;
}

// exp(-2 pi i n / 16) a, or the inverse turn; 0 <= n <= 9.
template <bool Inverse> S4OP_DEVICE Complex turn(Complex a, int n) {
  constexpr float kCosine[10] = {1.0f, 0.923879533f,  0.707106781f,  0.382683432f,  0.0f,
                                 -0.382683432f, -0.707106781f, -0.923879533f, -1.0f, -0.923879533f};
  if (n == 0) return a;
  if (n == 4) return Inverse ? Complex{-a.im, a.re} : Complex{a.im, -a.re};
  const float sine = kCosine[n < 4 ? 4 - n : n - 4];  // cos(x - pi/2)
  return a * Complex{kCosine[n], Inverse ? sine : -sine};
}

// v[q] <- sum_r v[r] exp(-+2 pi i q r / R), for `Stride` apart elements of v.
template <int R, bool Inverse, int Stride = 1> S4OP_DEVICE void dft(Complex* v) {
  static_assert(R == 2 || R == 4 || R == 8 || R == 16);
  if constexpr (R == 2) {
    const Complex difference = v[0] - v[Stride];
    v[0] = v[0] + v[Stride];
    v[Stride] = difference;
  } else if constexpr (R == 4) {
    const Complex even = v[0] + v[2 * Stride], odd = v[Stride] + v[3 * Stride];
    const Complex evenTurned = v[0] - v[2 * Stride];
    const Complex oddTurned = turn<Inverse>(v[Stride] - v[3 * Stride], 4);
    v[0] = even + odd;
    v[Stride] = evenTurned + oddTurned;
    v[2 * Stride] = even - odd;
    v[3 * Stride] = evenTurned - oddTurned;
  } else {  // R = 4 outer: r = 4 r1 + r0, q = q1 + outer q0
    constexpr int kOuter = R / 4;
    S4OP_UNROLL
    for (int r0 = 0; r0 < 4; ++r0) dft<kOuter, Inverse, 4 * Stride>(v + r0 * Stride);
    S4OP_UNROLL
    for (int q1 = 1; q1 < kOuter; ++q1) {
      S4OP_UNROLL
      for (int r0 = 1; r0 < 4; ++r0) {
        Complex& value = v[(4 * q1 + r0) * Stride];
        value = turn<Inverse>(value, r0 * q1 * (16 / R));
      }
    }
    S4OP_UNROLL
    for (int q1 = 0; q1 < kOuter; ++q1) dft<4, Inverse, Stride>(v + 4 * q1 * Stride);
    Complex natural[R];
    S4OP_UNROLL
    for (int q = 0; q < R; ++q) natural[q] = v[(4 * (q % kOuter) + q / kOuter) * Stride];
    S4OP_UNROLL
    for (int q = 0; q < R; ++q) v[q * Stride] = natural[q];
  }
}

}  // namespace s4op
