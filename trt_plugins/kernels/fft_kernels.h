// The kernels of fft.cu for sequences of one piece, and what is common to all of them.
#pragma once

#include "epilogue.h"
#include "fft_passes.h"
#include "ssm_conv.h"

namespace s4op {
namespace fft {

template <typename P> S4OP_DEVICE Complex* pointsOf(const Block& block, int buffer, int thread) {
  return block.shared<Complex>() + (buffer * P::kRows + P::row(thread)) * P::kBuffer;
}

struct SpectrumArgs {
  const float* k;    // (rows, taps)
  Complex* spectra;  // (rows, pieces, Q) in the order of spectrumAt
  int rows, taps, length, pieces;
};

// The spectra of k: block (x, y) makes piece y of its rows; pieces are the factors of X^P - i or, where
// the sequence is cut (Cut), its segments.
template <typename P, bool Cut> struct SpectrumKernel {
  static constexpr int kThreads = P::kThreads;
  static constexpr size_t kSharedBytes = P::sharedBytes(1);
  using Args = SpectrumArgs;

  static S4OP_DEVICE void block(Block& block, const Args& args) {
    const Tables<P> tables(block, 1);
    const int j = Cut ? 0 : block.y(), skip = Cut ? block.y() * P::kLength : 0;
    const auto rowOf = [&](int thread) { return block.x() * P::kRows + P::row(thread); };
    block.forThreads([&](int thread) { tables.fill(thread); });
    block.forThreads([&](int thread) {
      if (rowOf(thread) >= args.rows) return;
      const int lane = P::lane(thread);
      const auto taps = [&](int s) {
        const float* row = args.k + static_cast<size_t>(rowOf(thread)) * args.taps + skip;
        return loaded<P>(row, args.length - skip, lane + s * P::kPoints);
      };
      forwardFirst<P>(taps, tables, firstFactors<P>(lane, j), j, lane, pointsOf<P>(block, 0, thread));
    });
    if constexpr (P::kMiddle) {
      block.forThreads([&](int thread) {
        if (rowOf(thread) >= args.rows) return;
        middlePass<P, false>(tables, P::lane(thread), pointsOf<P>(block, 0, thread));
      });
    }
    block.forThreads([&](int thread) {
      if (rowOf(thread) >= args.rows) return;
      const size_t piece = static_cast<size_t>(rowOf(thread)) * args.pieces + block.y();
      const size_t at = spectrumAt<P>(piece, P::lane(thread));
      S4OP_UNROLL
      for (int e = 0; e < kHeld; e += P::kLast) {
        Complex v[P::kLast];
        lastForward<P>(pointsOf<P>(block, 0, thread), P::lane(thread), e, v);
        S4OP_UNROLL
        for (int r = 0; r < P::kLast; ++r) args.spectra[at + (e + r) * P::kRowThreads] = v[r];
      }
    });
  }
};

template <typename Io> struct ConvolutionArgs {
  const Io* x;  // (batch, channels, length)
  const float* k;
  const float* d;
  const Complex* spectra;  // of k, from SpectrumKernel
  Complex* scratch;        // CutKernel: (blocks, segments, Q), spectra of x
  Io* y;
  int batch, channels, keptCount, length, taps, batches;  // batches: of one block
  bool gelu;
  KeptSet kept;
};

// Rows' channels of a block.
template <typename P, typename Io> struct Rows {
  const ConvolutionArgs<Io>& args;
  int first;

  S4OP_DEVICE int channel(int thread) const { return first + P::row(thread); }
  // Among the kept ones, or -1.
  S4OP_DEVICE int index(int thread) const {
    return channel(thread) < args.channels ? args.kept.indexOf(channel(thread)) : -1;
  }
  S4OP_DEVICE size_t begin(int batch, int thread) const {
    return (static_cast<size_t>(batch) * args.channels + channel(thread)) * args.length;
  }
  S4OP_DEVICE int countKept() const {
    int count = 0;
    for (int row = 0; row < P::kRows; ++row) count += index(row * P::kRowThreads) >= 0;
    return count;
  }
  // The block's pruned channels of one batch.
  S4OP_DEVICE void passThrough(const Block& block, int batch) const {
    block.forThreads([&](int thread) {
      if (channel(thread) >= args.channels || index(thread) >= 0) return;
      const size_t row = begin(batch, thread);
      for (int i = P::lane(thread); i < args.length; i += P::kRowThreads) {
        args.y[row + i] = args.gelu ? finish<Io>(toFloat(args.x[row + i]), true) : args.x[row + i];
      }
    });
  }
};

// Length <= kMaxFft: block (x, y) does its rows' channels for `batches` batches. Alone: the only batch,
// k's spectrum is made beside that of x, with the same factors; else it comes from SpectrumKernel.
template <typename P, typename Io, bool Alone> struct ConvolutionKernel {
  static constexpr int kThreads = P::kThreads;
  static constexpr int kBlocks = P::kBlocks;
  static constexpr int kBuffers = Alone ? 2 : 1;  // points of x, of k
  static constexpr size_t kSharedBytes = P::sharedBytes(kBuffers);
  static constexpr bool kWhole = P::kSplit == 1;  // a thread's inputs fit in registers
  using Args = ConvolutionArgs<Io>;
  struct Sums {
    float values[P::kInputs];
  };

  static S4OP_DEVICE void block(Block& block, const Args& args) {
    const Rows<P, Io> rows{args, block.x() * P::kRows};
    const int begin = Alone ? 0 : block.y() * args.batches;
    const int end = Alone ? 1 : begin + args.batches < args.batch ? begin + args.batches : args.batch;
    const int kept = rows.countKept();
    if (kept < P::kRows) {
      for (int batch = begin; batch < end; ++batch) rows.passThrough(block, batch);
      if (kept == 0) return;
    }
    convolve(block, rows, begin, end);
  }

 private:
  static S4OP_DEVICE void convolve(Block& block, const Rows<P, Io>& rows, int begin, int end) {
    const Args& args = rows.args;
    const Tables<P> tables(block, kBuffers);
    Private<Inputs<P>> x(block), taps(block);
    Private<Sums> sums(block);
    Private<FirstFactors> factors(block);
    block.forThreads([&](int thread) {  // the numbers are on their way while tables are made
      if (kWhole && rows.index(thread) >= 0) {
        x[thread] = partOfX(rows, begin, thread, 0);
        if (Alone) taps[thread] = partOfTaps(args, rows.index(thread), thread, 0);
      }
      tables.fill(thread);
      if (kWhole) factors[thread] = firstFactors<P>(P::lane(thread), 0);
    });
    S4OP_ROLL
    for (int step = begin * P::kSplit; step < end * P::kSplit; ++step) {
      const int batch = step / P::kSplit, j = step % P::kSplit;
      block.forThreads([&](int thread) {
        if (rows.index(thread) < 0) return;
        if (j == 0) skipTerm(rows, batch, thread, x[thread], sums[thread]);
        if (!kWhole) factors[thread] = firstFactors<P>(P::lane(thread), j);
        S4OP_ROLL
        for (int buffer = 0; buffer < kBuffers; ++buffer) {
          const auto inputs = [&](int s) {
            if (kWhole) return buffer == 0 ? x[thread] : taps[thread];
            return buffer == 0 ? partOfX(rows, batch, thread, s)
                               : partOfTaps(args, rows.index(thread), thread, s);
          };
          Complex* points = pointsOf<P>(block, buffer, thread);
          forwardFirst<P>(inputs, tables, factors[thread], j, P::lane(thread), points);
        }
      });
      if constexpr (P::kMiddle) {
        block.forThreads([&](int thread) {
          if (rows.index(thread) < 0) return;
          S4OP_ROLL
          for (int buffer = 0; buffer < kBuffers; ++buffer) {
            middlePass<P, false>(tables, P::lane(thread), pointsOf<P>(block, buffer, thread));
          }
        });
      }
      block.forThreads([&](int thread) {
        if (rows.index(thread) >= 0) multiply(block, args, rows.index(thread), j, thread);
      });
      if constexpr (P::kMiddle) {
        block.forThreads([&](int thread) {
          if (rows.index(thread) < 0) return;
          middlePass<P, true>(tables, P::lane(thread), pointsOf<P>(block, 0, thread));
        });
      }
      block.forThreads([&](int thread) {
        if (rows.index(thread) < 0) return;
        Complex v[kHeld];
        inverseFirst<P>(pointsOf<P>(block, 0, thread), factors[thread], P::lane(thread), v);
        collect(tables, v, j, sums[thread]);
        if (j + 1 < P::kSplit) return;
        write(rows, batch, thread, sums[thread]);
        if (kWhole && batch + 1 < end) x[thread] = partOfX(rows, batch + 1, thread, 0);
      });
    }
  }

  static S4OP_DEVICE Inputs<P> partOfX(const Rows<P, Io>& rows, int batch, int thread, int s) {
    const Io* row = rows.args.x + rows.begin(batch, thread);
    return loaded<P>(row, rows.args.length, P::lane(thread) + s * P::kPoints);
  }
  static S4OP_DEVICE Inputs<P> partOfTaps(const Args& args, int index, int thread, int s) {
    const float* row = args.k + static_cast<size_t>(index) * args.taps;
    return loaded<P>(row, args.length, P::lane(thread) + s * P::kPoints);
  }

  // sums <- P d x: where the convolution's real parts, times P, are added to.
  static S4OP_DEVICE void skipTerm(const Rows<P, Io>& rows, int batch, int thread, const Inputs<P>& x,
                                   Sums& sums) {
    const float scale = rows.args.d[rows.index(thread)] * P::kLength;
    S4OP_UNROLL
    for (int s = 0; s < P::kSplit; ++s) {
      const Inputs<P> part = kWhole ? x : partOfX(rows, batch, thread, s);
      S4OP_UNROLL
      for (int r = 0; r < kHeld; ++r) sums.values[s * kHeld + r] = scale * part.values[r];
    }
  }

  // Last passes forward, product of the spectra, first pass back.
  static S4OP_DEVICE void multiply(const Block& block, const Args& args, int index, int j, int thread) {
    const int lane = P::lane(thread);
    Complex* points = pointsOf<P>(block, 0, thread);
    S4OP_UNROLL
    for (int e = 0; e < kHeld; e += P::kLast) {
      Complex v[P::kLast], spectrum[P::kLast];
      if constexpr (Alone) {
        lastForward<P>(pointsOf<P>(block, 1, thread), lane, e, spectrum);
      } else {
        const size_t at = spectrumAt<P>(static_cast<size_t>(index) * P::kSplit + j, lane);
        S4OP_UNROLL
        for (int r = 0; r < P::kLast; ++r) spectrum[r] = args.spectra[at + (e + r) * P::kRowThreads];
      }
      lastForward<P>(points, lane, e, v);
      S4OP_UNROLL
      for (int r = 0; r < P::kLast; ++r) v[r] = v[r] * spectrum[r];
      lastInverse<P>(points, lane, e, v);
    }
  }

  // sums[e] += Re(v[e % 16] / zeta_j^(e / 16)): the real parts of the product modulo X^P - i, times P.
  static S4OP_DEVICE void collect(const Tables<P>& tables, const Complex* v, int j, Sums& sums) {
    S4OP_UNROLL
    for (int e = 0; e < P::kInputs; ++e) {
      const Complex weight = tables.weight(j, e);
      sums.values[e] += v[e % kHeld].re * weight.re + v[e % kHeld].im * weight.im;
    }
  }

  static S4OP_DEVICE void write(const Rows<P, Io>& rows, int batch, int thread, const Sums& sums) {
    Io* y = rows.args.y + rows.begin(batch, thread) + P::lane(thread);
    const int length = rows.args.length - P::lane(thread);
    S4OP_UNROLL
    for (int e = 0; e < P::kInputs; ++e) {
      if (e * P::kRowThreads >= length) continue;
      y[e * P::kRowThreads] = finish<Io>(sums.values[e] * (1.0f / P::kLength), rows.args.gelu);
    }
  }
};

}  // namespace fft
}  // namespace s4op
