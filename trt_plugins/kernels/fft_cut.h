// The kernel of fft.cu for sequences longer than kMaxFft, cut into segments of 4096: an output segment is the
// inverse transform of sum_a X_a K_{o-a}; its real parts are added to the imaginary parts of the one before.
#pragma once

#include "fft_kernels.h"

namespace s4op {
namespace fft {

// Block (x, y) does channel x of batch y, segment by segment. What a thread reads from scratch, it wrote
// itself.
template <typename Io> struct CutKernel {
  using P = Plan<kLongest>;
  static constexpr int kThreads = P::kThreads;
  static constexpr size_t kSharedBytes = P::sharedBytes(1);
  using Args = ConvolutionArgs<Io>;

  static S4OP_DEVICE void block(Block& block, const Args& args) {
    const Rows<P, Io> rows{args, block.x()};
    const int batch = block.y();
    if (rows.index(0) < 0) {
      rows.passThrough(block, batch);
      return;
    }
    const Tables<P> tables(block, 1);
    Private<FirstFactors> factors(block);
    Private<Inputs<P>> carry(block);
    block.forThreads([&](int thread) {
      tables.fill(thread);
      factors[thread] = firstFactors<P>(thread, 0);
      S4OP_UNROLL
      for (int e = 0; e < kHeld; ++e) carry[thread].values[e] = 0.0f;
    });
    Complex* points = block.shared<Complex>();
    for (int segment = 0; segment * P::kLength < args.length; ++segment) {
      const int skip = segment * P::kLength;
      block.forThreads([&](int thread) {
        const auto x = [&](int) {
          return loaded<P>(args.x + rows.begin(batch, thread) + skip, args.length - skip, thread);
        };
        forwardFirst<P>(x, tables, factors[thread], 0, thread, points);
      });
      block.forThreads([&](int thread) { middlePass<P, false>(tables, thread, points); });
      block.forThreads([&](int thread) { multiply(args, rows.index(0), batch, segment, thread, points); });
      block.forThreads([&](int thread) { middlePass<P, true>(tables, thread, points); });
      block.forThreads([&](int thread) {
        Complex v[kHeld];
        inverseFirst<P>(points, factors[thread], thread, v);
        const size_t at = rows.begin(batch, thread) + skip + thread;
        const float d = args.d[rows.index(0)];
        write(args.x + at, args.y + at, args.length - skip - thread, args.gelu, d, tables, v, carry[thread]);
      });
    }
  }

 private:
  // sum over a <= segment of X_a K_{segment - a}, and back.
  static S4OP_DEVICE void multiply(const Args& args, int index, int batch, int segment, int thread,
                                   Complex* points) {
    const int segments = (args.length + P::kLength - 1) / P::kLength;
    Complex v[kHeld], sum[kHeld];
    lastForward<P>(points, thread, 0, v);
    const size_t ours = (static_cast<size_t>(batch) * args.keptCount + index) * segments;
    const Complex* spectra = args.spectra + spectrumAt<P>(static_cast<size_t>(index) * segments, thread);
    Complex* scratch = args.scratch + spectrumAt<P>(ours, thread);
    S4OP_UNROLL
    for (int e = 0; e < kHeld; ++e) {
      scratch[segment * P::kPoints + e * P::kRowThreads] = v[e];
      sum[e] = v[e] * spectra[e * P::kRowThreads];
    }
    S4OP_ROLL
    for (int a = 0; a < segment; ++a) {
      const Complex* x = scratch + a * P::kPoints;
      const Complex* k = spectra + (segment - a) * P::kPoints;
      S4OP_UNROLL
      for (int e = 0; e < kHeld; ++e) sum[e] = sum[e] + x[e * P::kRowThreads] * k[e * P::kRowThreads];
    }
    lastInverse<P>(points, thread, 0, sum);
  }

  static S4OP_DEVICE void write(const Io* x, Io* y, int length, bool gelu, float d, const Tables<P>& tables,
                                const Complex* v, Inputs<P>& carry) {
    S4OP_UNROLL
    for (int e = 0; e < kHeld; ++e) {
      const Complex weight = tables.weight(0, e);
      const float here = v[e].re * weight.re + v[e].im * weight.im + carry.values[e];
      carry.values[e] = v[e].im * weight.re - v[e].re * weight.im;
      const int i = e * P::kRowThreads;
      if (i < length) y[i] = finish<Io>(here * (1.0f / P::kLength) + d * toFloat(x[i]), gelu);
    }
  }
};

}  // namespace fft
}  // namespace s4op
