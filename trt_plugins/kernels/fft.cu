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
// Longer than kMaxFft: cut into segments (fft_cut.h). One batch: one launch makes the spectrum of k beside
// that of x. Several: k's spectra are made once, in a launch of their own.
#include "algorithms.h"
#include "fft_cut.h"
#include "fft_kernels.h"

namespace s4op {
namespace fft {

namespace {

constexpr int kWantedBlocks = 2048;    // enough for every GPU; more batches than that share a block
constexpr size_t kScratch = 64 << 20;  // bytes for the spectra of x, where the sequence is cut
constexpr int kMaxGridY = 65535;
static_assert(Plan<14>::kLength == kMaxFft);
static_assert(Plan<14>::sharedBytes(1) <= 48 * 1024, "only two buffers need preparing");
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

template <typename Io>
ConvolutionArgs<Io> convolutionArgs(const Problem& p, const KeptSet& kept, const Operands& o) {
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

template <typename P, bool Cut>
int launchSpectra(const Problem& p, const Operands& o, int pieces, Stream stream) {
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

template <typename Io>
int launchCut(const Problem& p, const KeptSet& kept, const Operands& o, Stream stream) {
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

// The kernel for one batch, whatever the batch is now: the others need not be prepared.
template <typename Io> int prepareAlone(int length) {
  return withPlan(length, [](auto plan) {
    using Kernel = ConvolutionKernel<decltype(plan), Io, true>;
    return prepareKernel<Kernel>(Kernel::kSharedBytes);
  });
}

}  // namespace

bool supports(const Problem& problem, bool tf32, size_t sharedBytes) {
  if (tf32 || problem.length > (kMaxGridY << kLongest)) return false;
  return withPlan(problem.length, [](auto plan) { return plan.sharedBytes(2); }) <= sharedBytes;
}

size_t workspaceBytes(const Problem& problem, bool) { return spectraBytes(problem) + scratchBytes(problem); }

int prepare(const Problem& problem, bool) {
  if (cut(problem)) return 0;
  const bool half = problem.type == Type::kHalf;
  return half ? prepareAlone<Half>(problem.length) : prepareAlone<float>(problem.length);
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
