// Exact float32: one transform per row in shared memory; any length.
//
// Right-angle convolution (Crandall and Fagin, Discrete weighted transforms, 1994): sequences of P real
// numbers multiply as polynomials modulo X^P - i. The first P numbers of their product are the real
// parts, the P behind them the imaginary parts; nothing wraps, and no spectrum is unfolded. With P = S Q
//
//   X^P - i = prod_j (X^Q - zeta_j),   zeta_j = exp(i pi (1 + 4 j) / (2 S)),   j = 0 .. S-1
//
// so a row is S independent complex transforms of Q <= 4096 points, one after the other, each of the
// sequence times omega^n, omega^Q = zeta_j. A thread holds 16 points. Passes of radix 16, forward by
// decimation in frequency and back by decimation in time: spectra stay in the order they come in.
//
// Longer than kMaxFft: the sequence is cut into segments of 4096; an output segment is the inverse
// transform of sum_a X_a K_{o-a}, and its imaginary part is carried to the next one.
#include "algorithms.h"
#include "epilogue.h"
#include "fft_passes.h"

namespace s4op {
namespace fft {

namespace {

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
        if (rowOf(thread) < args.rows) middlePass<P, false>(tables, P::lane(thread), pointsOf<P>(block, 0, thread));
      });
    }
    block.forThreads([&](int thread) {
      if (rowOf(thread) >= args.rows) return;
      const size_t at = spectrumAt<P>(static_cast<size_t>(rowOf(thread)) * args.pieces + block.y(), P::lane(thread));
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
        if (j == 0) skip(rows, batch, thread, x[thread], sums[thread]);
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
    return loaded<P>(rows.args.x + rows.begin(batch, thread), rows.args.length, P::lane(thread) + s * P::kPoints);
  }
  static S4OP_DEVICE Inputs<P> partOfTaps(const Args& args, int index, int thread, int s) {
    const float* row = args.k + static_cast<size_t>(index) * args.taps;
    return loaded<P>(row, args.length, P::lane(thread) + s * P::kPoints);
  }

  // sums <- P d x: where the convolution's real parts, times P, are added to.
  static S4OP_DEVICE void skip(const Rows<P, Io>& rows, int batch, int thread, const Inputs<P>& x, Sums& sums) {
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

// Longer: one channel of one batch after the other, segment by segment. A thread keeps the points of
// the spectra of x that it needs again: what it reads from scratch, it wrote itself.
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

constexpr int kWantedBlocks = 2048;    // enough for every GPU; more batches than that share a block
constexpr size_t kScratch = 64 << 20;  // bytes for the spectra of x, where the sequence is cut
constexpr int kMaxGridY = 65535;
static_assert(Plan<14>::kLength == kMaxFft);
static_assert(Plan<14>::sharedBytes(1) <= 48 * 1024, "spectra and cut sequences need not be prepared");
using Segment = Plan<kLongest>;

int ceilDivide(int a, int b) { return (a + b - 1) / b; }
bool cut(const Problem& problem) { return problem.length > kMaxFft; }
int segments(const Problem& problem) { return ceilDivide(problem.length, Segment::kLength); }

// body(Plan) of the shortest plan that `length` fits.
template <typename Body> auto withPlan(int length, Body body) {
  if (length <= 64) return body(Plan<6>{});
  if (length <= 128) return body(Plan<7>{});
  if (length <= 256) return body(Plan<8>{});
  if (length <= 512) return body(Plan<9>{});
  if (length <= 1024) return body(Plan<10>{});
  if (length <= 2048) return body(Plan<11>{});
  if (length <= 4096) return body(Plan<12>{});
  if (length <= 8192) return body(Plan<13>{});
  return body(Plan<14>{});
}

size_t spectraBytes(const Problem& problem) {
  if (cut(problem)) return sizeof(Complex) * problem.kept * segments(problem) * Segment::kLength;
  if (problem.batch == 1) return 0;
  return withPlan(problem.length, [&](auto plan) { return sizeof(Complex) * problem.kept * plan.kLength; });
}

// Bytes for the spectra of x: of one batch at least, of as many as fit into kScratch at most.
size_t scratchBytes(const Problem& problem) {
  if (!cut(problem)) return 0;
  const size_t one = spectraBytes(problem), all = one * problem.batch;
  return all < kScratch ? all : one > kScratch ? one : kScratch;
}

int cutBatches(const Problem& problem) {
  const size_t fitting = scratchBytes(problem) / spectraBytes(problem);
  return static_cast<int>(fitting < kMaxGridY ? fitting : kMaxGridY);
}

template <typename Io> ConvolutionArgs<Io> convolutionArgs(const Problem& p, const KeptSet& kept, const Operands& o) {
  ConvolutionArgs<Io> args;
  args.x = static_cast<const Io*>(o.x);
  args.k = o.k;
  args.d = o.d;
  args.spectra = static_cast<const Complex*>(o.workspace);
  args.scratch = nullptr;
  args.y = static_cast<Io*>(o.y);
  args.batch = p.batch;
  args.channels = p.channels;
  args.keptCount = p.kept;
  args.length = p.length;
  args.taps = p.taps;
  args.batches = 1;
  args.gelu = p.gelu;
  args.kept = kept;
  return args;
}

template <typename P, bool Cut> int launchSpectra(const Problem& p, const Operands& o, int pieces, Stream stream) {
  const SpectrumArgs args{o.k, static_cast<Complex*>(o.workspace), p.kept, p.taps, p.length, pieces};
  using Kernel = SpectrumKernel<P, Cut>;
  return launchKernel<Kernel>(ceilDivide(p.kept, P::kRows), pieces, Kernel::kSharedBytes, args, stream);
}

template <typename P, typename Io>
int launchWhole(const Problem& p, const KeptSet& kept, const Operands& o, Stream stream) {
  ConvolutionArgs<Io> args = convolutionArgs<Io>(p, kept, o);
  const int gridX = ceilDivide(p.channels, P::kRows);
  if (p.batch == 1) {
    using Kernel = ConvolutionKernel<P, Io, true>;
    return launchKernel<Kernel>(gridX, 1, Kernel::kSharedBytes, args, stream);
  }
  const int status = launchSpectra<P, false>(p, o, P::kSplit, stream);
  if (status != 0) return status;
  const int wanted = ceilDivide(kWantedBlocks, gridX);
  args.batches = ceilDivide(p.batch, wanted < p.batch ? wanted : p.batch);
  using Kernel = ConvolutionKernel<P, Io, false>;
  return launchKernel<Kernel>(gridX, ceilDivide(p.batch, args.batches), Kernel::kSharedBytes, args, stream);
}

template <typename Io> int launchCut(const Problem& p, const KeptSet& kept, const Operands& o, Stream stream) {
  int status = launchSpectra<Segment, true>(p, o, segments(p), stream);
  ConvolutionArgs<Io> args = convolutionArgs<Io>(p, kept, o);
  args.scratch = static_cast<Complex*>(o.workspace) + spectraBytes(p) / sizeof(Complex);
  const size_t row = static_cast<size_t>(p.channels) * p.length;
  const int step = cutBatches(p);
  for (int batch = 0; batch < p.batch && status == 0; batch += step) {
    const int count = step < p.batch - batch ? step : p.batch - batch;
    status = launchKernel<CutKernel<Io>>(p.channels, count, CutKernel<Io>::kSharedBytes, args, stream);
    args.x += row * count;
    args.y += row * count;
  }
  return status;
}

template <typename Io> int prepareWhole(int length) {
  return withPlan(length, [](auto plan) {
    using P = decltype(plan);
    using Single = ConvolutionKernel<P, Io, true>;
    using Several = ConvolutionKernel<P, Io, false>;
    const int status = prepareKernel<Single>(Single::kSharedBytes);
    return status != 0 ? status : prepareKernel<Several>(Several::kSharedBytes);
  });
}

}  // namespace

bool supports(const Problem& problem, bool tf32, size_t sharedBytes) {
  if (tf32 || problem.length > (kMaxGridY << kLongest)) return false;
  const size_t single = withPlan(problem.length, [](auto plan) { return plan.sharedBytes(2); });
  return single <= sharedBytes;
}

size_t workspaceBytes(const Problem& problem, bool) {
  return spectraBytes(problem) + scratchBytes(problem);
}

int prepare(const Problem& problem, bool) {
  if (cut(problem)) return 0;
  return problem.type == Type::kHalf ? prepareWhole<Half>(problem.length) : prepareWhole<float>(problem.length);
}

int launch(const Problem& problem, bool, const KeptSet& kept, const Operands& operands, Stream stream) {
  const bool half = problem.type == Type::kHalf;
  if (cut(problem)) {
    return half ? launchCut<Half>(problem, kept, operands, stream)
                : launchCut<float>(problem, kept, operands, stream);
  }
  return withPlan(problem.length, [&](auto plan) {
    using P = decltype(plan);
    return half ? launchWhole<P, Half>(problem, kept, operands, stream)
                : launchWhole<P, float>(problem, kept, operands, stream);
  });
}

}  // namespace fft
}  // namespace s4op
