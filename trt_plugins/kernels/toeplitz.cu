// The convolution of a short sequence as products of 16 x 16 tiles on tensor cores.
//
// With the row u_j = x[16 j .. 16 j + 16) and y_j alike,
//   y_j = sum_{e <= j} u_{j-e} W_e,   W_e[i, t] = k[16 e + t - i]   (k is zero before 0).
// All W_e are windows of one matrix of 16 rows, V[i, s] = k[s - i]: W_e = V[:, 16 e ..]. Sixteen rows of
// y, a tile, are the sum of the sixteen rows of u that begin e rows earlier times W_e.
//
// A block serves one channel: it makes V once, scaled by a power of two so that k's largest tap is near
// one whatever its size, and walks through its share of the batches, up to four at a time. k[0], often the
// largest tap, joins the skip term, which is exact: (d + k[0]) x.
#include "algorithms.h"
#include "pack.h"
#include "tile.h"

namespace s4op {
namespace toeplitz {

namespace {

constexpr int kWarpBits = 2, kThreadBits = kWarpBits + 5;
constexpr int kWarps = 1 << kWarpBits;
constexpr int kGridBlocks = 512;             // enough to fill a device; more share less of V
constexpr int kLeadSum = kTile + 8;          // of the partial sums
constexpr int kSum = kTile * kLeadSum;       // elements of a tile of partial sums
constexpr int kTaps = kMaxToeplitz + kTile;  // k behind sixteen zeros
constexpr int kTops = 16;

template <typename T> constexpr int leadOfRows() { return sizeof(T) == 2 ? kTile : kTile + 8; }

// Where things lie in shared memory, in bytes; the partial sums take the place of the taps.
struct Layout {
  int chunks;  // rows of 16 samples
  int tiles;   // of 16 chunks
  int leadV;
  int rows;  // elements of a batch's u: 16 rows of zeros, then its chunks
  int v, u, sums, partials, bytes;
};

template <typename T> Layout layoutOf(int length, int together) {
  Layout l{};
  l.chunks = (length + kTile - 1) / kTile;
  l.tiles = (l.chunks + kTile - 1) / kTile;
  l.leadV = kTile * l.chunks + 8;
  l.rows = kTile * (l.tiles + 1) * leadOfRows<T>();
  const int element = static_cast<int>(sizeof(T)), word = static_cast<int>(sizeof(float));
  const int sums = kWarps * l.tiles * kSum;
  l.u = l.v + kTile * l.leadV * element;
  l.sums = l.u + together * l.rows * element;
  l.partials = l.sums + (sums > kTaps ? sums : kTaps) * word;
  l.bytes = l.partials + (kWarp * kWarps + kTops) * word;
  return l;
}

template <typename T> struct Kernel {
  static constexpr int kThreads = kWarp * kWarps;
  static constexpr int kBlocks = 10;  // as many as fit the shared memory of 163 KiB at 200 samples
  static constexpr int kLead = leadOfRows<T>();

  struct Args {
    const T* x;
    const float* k;
    const float* d;
    T* y;
    int batch, channels, length, taps;
    int together;  // batches a round: 1, 2 or 4
    int bits;      // together = 2^bits
    int blocks;    // that share a channel's batches
    bool gelu, packed;
    Layout layout;
    KeptSet kept;
  };

  static S4OP_DEVICE size_t rowOf(const Args& args, int batch, int channel) {
    return (static_cast<size_t>(batch) * args.channels + channel) * args.length;
  }

  static S4OP_DEVICE void block(Block& block, const Args& args) {
    const int channel = block.x(), index = args.kept.indexOf(channel);
    if (index < 0) {
      for (int b = block.y(); b < args.batch; b += args.blocks) {
        const size_t row = rowOf(args, b, channel);
        passThroughPacks(block, args.x + row, args.y + row, args.length, args.packed, args.gelu);
      }
      return;
    }
    const float scale = prepareTaps(block, args, index);
    const float skip = args.d[index] + args.k[static_cast<size_t>(index) * args.taps];
    const int step = args.blocks * args.together;
    for (int first = block.y() * args.together; first < args.batch; first += step) {
      multiply(block, args);
      finishRows(block, args, channel, first, step, skip, scale);
    }
  }

  // V and the first batches' rows; returns the power of two by which products with V are to be multiplied.
  static S4OP_DEVICE float prepareTaps(Block& block, const Args& args, int index) {
    const Layout& l = args.layout;
    T* v = block.shared<T>(l.v);
    T* u = block.shared<T>(l.u);
    float* taps = block.shared<float>(l.sums);
    float* partials = block.shared<float>(l.partials);
    float* tops = partials + kThreads;
    const float* k = args.k + static_cast<size_t>(index) * args.taps;
    const int count = kTile * l.chunks;
    block.forThreads([&](int thread) {
      float most = 0.0f;
      for (int i = thread; i < kTile + count; i += kThreads) {
        const float tap = i > kTile && i - kTile < args.length ? k[i - kTile] : 0.0f;
        taps[i] = tap;
        most = fmaxf(most, fabsf(tap));
      }
      partials[thread] = most;
      for (int i = thread; i < args.together * kTile * kLead; i += kThreads) {
        u[i / (kTile * kLead) * l.rows + i % (kTile * kLead)] = fromFloat<T>(0.0f);
      }
      loadRows(args, u, block.x(), block.y() * args.together, thread);
    });
    block.forThreads([&](int thread) {
      if (thread < kTops) tops[thread] = largest(partials + thread * (kThreads / kTops), kThreads / kTops);
    });
    block.forThreads([&](int thread) {
      const float shrink = powerOfTwo(-exponentOf(largest(tops, kTops)));
      const int i = thread % kTile;  // neighbours in different rows: no two read the same bank
      for (int s = thread / kTile * kPack; s < count; s += kThreads / kTile * kPack) {
        Pack<T> pack;
        S4OP_UNROLL
        for (int j = 0; j < kPack; ++j) pack.v[j] = fromFloat<T>(shrink * taps[kTile + s + j - i]);
        packAt(v + i * l.leadV + s) = pack;
      }
    });
    return powerOfTwo(exponentOf(largest(tops, kTops)));
  }

  // The warps of a round: each serves one batch, and where there are fewer batches than warps, some of
  // its e. Threads for loading and storing go to the batches likewise.
  static S4OP_DEVICE void multiply(Block& block, const Args& args) {
    const Layout& l = args.layout;
    const T* v = block.shared<T>(l.v);
    const T* u = block.shared<T>(l.u);
    float* sums = block.shared<float>(l.sums);
    block.forWarps([&](int warp) {
      const int split = kWarps >> args.bits;
      const T* rows = u + (warp >> (kWarpBits - args.bits)) * l.rows + kTile * kLead;
      for (int tile = 0; tile < l.tiles; ++tile) {
        Accumulator<T> sum;
        sum.clear();
        const int last = tile * kTile + kTile - 1;
        for (int e = warp & (split - 1); e <= last && e < l.chunks; e += split) {
          sum.multiply(rows + (tile * kTile - e) * kLead, kLead, v + e * kTile, l.leadV);
        }
        sum.store(sums + (warp * l.tiles + tile) * kSum, kLeadSum);
      }
    });
  }

  // Adds up what the warps have, the skip term, GELU; then takes in the next round's rows, each thread
  // where it has read.
  static S4OP_DEVICE void finishRows(Block& block, const Args& args, int channel, int first, int step,
                                     float skip, float scale) {
    const Layout& l = args.layout;
    T* u = block.shared<T>(l.u);
    const float* sums = block.shared<float>(l.sums);
    block.forThreads([&](int thread) {
      const int split = kWarps >> args.bits, threads = kWarp * split;
      const int batch = thread >> (kThreadBits - args.bits);
      const T* rows = u + batch * l.rows + kTile * kLead;
      if (first + batch < args.batch) {
        T* y = args.y + rowOf(args, first + batch, channel);
        for (int i = (thread & (threads - 1)) * kPack; i < args.length; i += threads * kPack) {
          const Pack<T> x = packAt(rows + i / kTile * kLead + i % kTile);
          const float* from = sums + batch * split * l.tiles * kSum + i / kTile * kLeadSum + i % kTile;
          Pack<float> sum = packAt(from);
          for (int part = 1; part < split; ++part) {
            const Pack<float> more = packAt(from + part * l.tiles * kSum);
            S4OP_UNROLL
            for (int j = 0; j < kPack; ++j) sum.v[j] += more.v[j];
          }
          Pack<T> pack;
          S4OP_UNROLL
          for (int j = 0; j < kPack; ++j) {
            pack.v[j] = finish<T>(sum.v[j] * scale + skip * toFloat(x.v[j]), args.gelu);
          }
          storePack(y, i, args.length, args.packed, pack);
        }
      }
      if (first + step < args.batch) loadRows(args, u, channel, first + step, thread);
    });
  }

  // The thread's part of the rows of batches first .. first + together; zeros behind the end.
  static S4OP_DEVICE void loadRows(const Args& args, T* u, int channel, int first, int thread) {
    const Layout& l = args.layout;
    const int threads = kThreads >> args.bits, batch = thread >> (kThreadBits - args.bits);
    const int length = first + batch < args.batch ? args.length : 0;
    const T* x = args.x + (length > 0 ? rowOf(args, first + batch, channel) : 0);
    T* rows = u + batch * l.rows + kTile * kLead;
    for (int i = (thread & (threads - 1)) * kPack; i < l.tiles * kTile * kTile; i += threads * kPack) {
      packAt(rows + i / kTile * kLead + i % kTile) = loadPack(x, i, length, args.packed);
    }
  }
};

int togetherOf(int batch) { return batch > 2 ? 4 : batch; }

template <typename T> int launchAs(const Problem& p, const KeptSet& kept, const Operands& o, Stream stream) {
  const int together = togetherOf(p.batch), rounds = (p.batch + together - 1) / together;
  const int wanted = (kGridBlocks + p.channels - 1) / p.channels, blocks = rounds < wanted ? rounds : wanted;
  typename Kernel<T>::Args args{};
  args.x = static_cast<const T*>(o.x), args.k = o.k, args.d = o.d, args.y = static_cast<T*>(o.y);
  args.batch = p.batch, args.channels = p.channels, args.length = p.length, args.taps = p.taps;
  args.together = together, args.bits = together / 2, args.blocks = blocks;
  args.gelu = p.gelu, args.packed = packedRows<T>(o.x, o.y, p.length);
  args.layout = layoutOf<T>(p.length, together);
  args.kept = kept;
  return launchKernel<Kernel<T>>(p.channels, blocks, static_cast<size_t>(args.layout.bytes), args, stream);
}

// At most four batches together, the most any number of batches takes.
int bytesOf(const Problem& p, bool tf32) {
  return tf32 ? layoutOf<float>(p.length, 4).bytes : layoutOf<Half>(p.length, 4).bytes;
}

}  // namespace

bool supports(const Problem& problem, bool tf32, size_t sharedBytes) {
  return problem.length <= kMaxToeplitz && problem.type == (tf32 ? Type::kFloat : Type::kHalf) &&
         static_cast<size_t>(bytesOf(problem, tf32)) <= sharedBytes;
}

size_t workspaceBytes(const Problem&, bool) { return 0; }

int prepare(const Problem& problem, bool tf32) {
  const auto bytes = static_cast<size_t>(bytesOf(problem, tf32));
  return tf32 ? prepareKernel<Kernel<float>>(bytes) : prepareKernel<Kernel<Half>>(bytes);
}

int launch(const Problem& problem, bool tf32, const KeptSet& kept, const Operands& operands, Stream stream) {
  return tf32 ? launchAs<float>(problem, kept, operands, stream)
              : launchAs<Half>(problem, kept, operands, stream);
}

}  // namespace toeplitz
}  // namespace s4op
