// The convolution of S4D as a recurrence over chunks of 64 samples, in products of tiles on tensor cores.
//
// With a = exp(pole), c = 2 residue and the row u_j = x[64 j .. 64 j + 64),
//   S_j = u_j B,               B[i, m] = c_m a_m^(63-i)        what the chunk adds to the states
//   x_{j+1} = a^64 x_j + S_j                                    in float; x_j is the state before chunk j
//   y_j = u_j W + Re(x_j C),   C[m, t] = a_m^(t+1),  W[i, t] = k[t - i] (0 unless t > i)
// and (d + k[0]) x in float. Complex numbers are two real columns of B (real, imaginary) and two rows of C
// (real, minus imaginary); M modes are padded with zeros to a multiple of 16 columns. As in toeplitz.cu,
// W is made of windows of V[i, s] = k[s - i].
//
// A block serves one channel. It makes B, C and V once and walks through its share of the batches, two
// tiles of 16 chunks a pass: two tiles of one batch, or, of short sequences, one tile of two batches.
//
// Half operands: powers of two take k's taps, the residues and the states of each tile to magnitudes near
// one, so that neither slow modes (whose states grow like 1 / (1 - |a|)) nor small inputs leave half's range.
// The states themselves are carried in float.
#include "algorithms.h"
#include "scan_matrices.h"
#include "tile.h"

namespace s4op {
namespace scan {

namespace {

constexpr int kGridBlocks = 512;  // enough to fill a device; more share less of the matrices

template <typename T> struct Kernel {
  static constexpr int kThreads = kWarp * kWarps;
  static constexpr int kBlocks = sizeof(T) == 2 ? 4 : 2;  // as many as fit Orin's shared memory with 32 modes

  struct Args {
    const T* x;
    const float* k;
    const float* d;
    const Complex* poles;
    const Complex* residues;
    T* y;
    int batch, channels, length, taps, modes;
    int passes;    // over the sequence
    int tiles;     // a pass: 1 or 2
    int together;  // batches a pass, a tile each: 1 or 2; 2 only where one pass suffices
    int blocks;    // that share a channel's batches
    bool gelu, packed;
    Layout layout;
    KeptSet kept;
  };

  // What a thread brings into shared memory for a pass.
  struct Rows {
    Pack<T> packs[kMaxTiles];
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
    const int first = block.y() * args.together, step = args.blocks * args.together;
    Private<Rows> next(block);
    readParameters(block, args, index, first);
    makeMatrices(block, args, index);
    const float skip = args.d[index] + args.k[static_cast<size_t>(index) * args.taps];
    for (int batch = first; batch < args.batch; batch += step) {
      for (int pass = 0; pass < args.passes; ++pass) {
        const bool more = pass + 1 < args.passes;
        addToStates(block, args);
        carryStates(block, args, pass == 0);
        roundStates(block, args, more ? batch : batch + step, more ? pass + 1 : 0, next);
        multiply(block, args);
        finishRows(block, args, batch, pass, skip, next);
      }
    }
  }

  // a and a^64 of each mode, magnitudes of residues and taps, the first taps, the first rows.
  static S4OP_DEVICE void readParameters(Block& block, const Args& args, int index, int first) {
    const Layout& l = args.layout;
    const float* k = args.k + static_cast<size_t>(index) * args.taps;
    block.forThreads([&](int thread) {
      placeRows(block, args, fetchRows(block, args, first, 0, thread), thread);
      for (int m = thread; m < l.modes; m += kThreads) {
        const bool real = m < args.modes;
        const int at = index * args.modes + m;
        const Complex pole = real ? args.poles[at] : Complex{0.0f, 0.0f};
        const Complex residue = real ? args.residues[at] : Complex{0.0f, 0.0f};
        block.shared<Complex>(l.bases)[m] = power(pole, 1.0f);
        block.shared<Complex>(l.advances)[m] = power(pole, static_cast<float>(kChunk));
        block.shared<float>(l.sizes)[m] = 2.0f * fmaxf(fabsf(residue.re), fabsf(residue.im));
        block.shared<float>(l.sizes)[l.modes + m] = 0.0f;
      }
      for (int i = thread; i < kTapsUsed; i += kThreads) {
        block.shared<float>(l.taps)[i] = tap(k, i - kTile, args.length);
      }
      if (thread < kTops) {
        float most = 0.0f;
        for (int i = 0; i < kPack; ++i) most = fmaxf(most, fabsf(tap(k, thread * kPack + i, args.length)));
        block.shared<float>(l.tops)[thread] = most;
      }
    });
  }

  static S4OP_DEVICE float tap(const float* k, int i, int length) {
    return i > 0 && i < length ? k[i] : 0.0f;
  }

  static S4OP_DEVICE void makeMatrices(Block& block, const Args& args, int index) {
    const Layout& l = args.layout;
    block.forThreads([&](int thread) {
      const int residues = exponentOf(largest(block.shared<float>(l.sizes), l.modes));
      const int taps = exponentOf(largest(block.shared<float>(l.tops), kTops));
      const float scale = powerOfTwo(-residues);
      makeTaps(block.shared<T>(l.v), block.shared<float>(l.taps), thread, powerOfTwo(-taps));
      for (int item = thread; item < args.modes * (kChunk / kSegment); item += kThreads) {
        const int m = item % args.modes, start = item / args.modes * kSegment, at = index * args.modes + m;
        makePowers(block.shared<T>(l.b), block.shared<T>(l.c), l, m, start, args.poles[at],
                   block.shared<Complex>(l.bases)[m], args.residues[at], scale);
      }
      for (int i = thread; i < (l.columns - 2 * args.modes) * kChunk; i += kThreads) {
        const int column = 2 * args.modes + i / kChunk;
        block.shared<T>(l.b)[i % kChunk * l.leadX + column] = fromFloat<T>(0.0f);
        block.shared<T>(l.c)[column * kLead + i % kChunk] = fromFloat<T>(0.0f);
      }
      if (thread == 0) *block.shared<Scales>(l.scales) = {residues - taps, powerOfTwo(taps)};
    });
  }

  // S = U B.
  static S4OP_DEVICE void addToStates(Block& block, const Args& args) {
    const Layout& l = args.layout;
    block.forWarps([&](int warp) {
      S4OP_ROLL
      for (int item = warp; item < args.tiles * (l.columns / kTile); item += kWarps) {
        const int tile = item & (args.tiles - 1), column = (item >> (args.tiles - 1)) * kTile;
        const T* u = block.shared<T>(l.u) + tile * kTile * kLead;
        const T* b = block.shared<T>(l.b) + column;
        Accumulator<T> sum;
        sum.clear();
        S4OP_UNROLL
        for (int i = 0; i < kChunk; i += kTile) sum.multiply(u + i, kLead, b + i * l.leadX, l.leadX);
        sum.store(block.shared<float>(l.s) + tile * kTile * l.leadS + column, l.leadS);
      }
    });
  }

  // In the place of S, the states before each chunk; a thread carries one mode of one batch through its
  // rows and notes how large it grows in each tile.
  static S4OP_DEVICE void carryStates(Block& block, const Args& args, bool fresh) {
    const Layout& l = args.layout;
    block.forThreads([&](int thread) {
      for (int item = thread; item < args.modes * args.together; item += kThreads) {
        const int m = item < args.modes ? item : item - args.modes;
        const int from = item < args.modes ? 0 : 1, to = args.together == 1 ? args.tiles : from + 1;
        const Complex advance = block.shared<Complex>(l.advances)[m];
        Complex* carry = block.shared<Complex>(l.carries) + m;
        Complex state = fresh ? Complex{0.0f, 0.0f} : *carry;
        for (int tile = from; tile < to; ++tile) {
          float* s = block.shared<float>(l.s) + tile * kTile * l.leadS + 2 * m;
          float most = 0.0f;
          S4OP_UNROLL
          for (int row = 0; row < kTile; row += kSegment) {
            most = fmaxf(most, carryRows(s + row * l.leadS, l.leadS, advance, state));
          }
          block.shared<float>(l.sizes)[tile * l.modes + m] = most;
        }
        if (args.together == 1) *carry = state;
      }
    });
  }

  // All rows are read first: what is written then does not hold the reads up.
  static S4OP_DEVICE float carryRows(float* s, int lead, Complex advance, Complex& state) {
    Complex added[kSegment];
    S4OP_UNROLL
    for (int i = 0; i < kSegment; ++i) added[i] = *reinterpret_cast<Complex*>(s + i * lead);
    float most = 0.0f;
    S4OP_UNROLL
    for (int i = 0; i < kSegment; ++i) {
      *reinterpret_cast<Complex*>(s + i * lead) = state;
      most = fmaxf(most, fmaxf(fabsf(state.re), fabsf(state.im)));
      const Complex moved = advance * state;
      state = {moved.re + added[i].re, moved.im + added[i].im};
    }
    return most;
  }

  // X: the states as operands, each tile near one; its true scale, relative to V's, goes to `factors`.
  // Eight threads share a row, or sixteen where there is one tile. Meanwhile the next pass's rows, which
  // nobody needs before this one is finished, are on their way.
  static S4OP_DEVICE void roundStates(Block& block, const Args& args, int nextBatch, int nextPass,
                                      Private<Rows>& next) {
    const Layout& l = args.layout;
    block.forThreads([&](int thread) {
      next[thread] = fetchRows(block, args, nextBatch, nextPass, thread);
      const int bits = 5 - args.tiles, each = 1 << bits;  // of the threads of a row
      const int row = thread >> bits, rank = thread & (each - 1), tile = row / kTile;
      const int exponent = exponentOf(largest(block.shared<float>(l.sizes) + tile * l.modes, l.modes));
      const float scale = powerOfTwo(-exponent);
      const float* s = block.shared<float>(l.s) + row * l.leadS;
      T* x = block.shared<T>(l.x) + row * l.leadX;
      for (int column = rank * kPack; column < l.columns; column += each * kPack) {
        const Pack<float> states = packAt(s + column);
        Pack<T> pack;
        S4OP_UNROLL
        for (int j = 0; j < kPack; ++j) pack.v[j] = fromFloat<T>(scale * states.v[j]);
        packAt(x + column) = pack;
      }
      if (row % kTile == 0 && rank == 0) {
        block.shared<float>(l.factors)[tile] =
            powerOfTwo(exponent + block.shared<Scales>(l.scales)->exponent);
      }
    });
  }

  // Y = X C + U W.
  static S4OP_DEVICE void multiply(Block& block, const Args& args) {
    const Layout& l = args.layout;
    block.forWarps([&](int warp) {
      S4OP_ROLL
      for (int item = warp; item < args.tiles * (kChunk / kTile); item += kWarps) {
        const int tile = item & (args.tiles - 1), column = (item >> (args.tiles - 1)) * kTile;
        const T* x = block.shared<T>(l.x) + tile * kTile * l.leadX;
        const T* u = block.shared<T>(l.u) + tile * kTile * kLead;
        const T* c = block.shared<T>(l.c) + column;
        const T* v = block.shared<T>(l.v) + column;
        Accumulator<T> sum;
        sum.clear();
        for (int i = 0; i < l.columns; i += kTile) sum.multiply(x + i, l.leadX, c + i * kLead, kLead);
        sum.scale(block.shared<float>(l.factors)[tile]);
        S4OP_ROLL
        for (int i = 0; i <= column; i += kTile) sum.multiply(u + i, kLead, v - i, kLead);
        sum.store(block.shared<float>(l.s) + tile * kTile * kLead + column, kLead);
      }
    });
  }

  // A thread's pack in a tile, whose 16 chunks of 16 packs are the block's threads: its batch, its first
  // sample, and the element of U and Y where it lies.
  static S4OP_DEVICE int batchOf(const Args& args, int batch, int tile) {
    return args.together == 1 ? batch : batch + tile;
  }
  static S4OP_DEVICE int sampleOf(const Args& args, int pass, int tile, int thread) {
    const int before = args.together == 1 ? pass * args.tiles + tile : 0;
    return before * kTile * kChunk + thread * kPack;
  }
  static S4OP_DEVICE int elementOf(int tile, int thread) {
    constexpr int kPacks = kChunk / kPack;
    return (tile * kTile + thread / kPacks) * kLead + thread % kPacks * kPack;
  }

  // Skip term, GELU and store; then the next pass's rows, each thread where it has read.
  static S4OP_DEVICE void finishRows(Block& block, const Args& args, int batch, int pass, float skip,
                                     Private<Rows>& next) {
    const Layout& l = args.layout;
    block.forThreads([&](int thread) {
      const float scale = block.shared<Scales>(l.scales)->taps;
      S4OP_ROLL
      for (int tile = 0; tile < args.tiles; ++tile) {
        const int b = batchOf(args, batch, tile), i = sampleOf(args, pass, tile, thread);
        if (b >= args.batch || i >= args.length) continue;
        const Pack<T> x = packAt(block.shared<T>(l.u) + elementOf(tile, thread));
        const Pack<float> sum = packAt(block.shared<float>(l.s) + elementOf(tile, thread));
        Pack<T> pack;
        S4OP_UNROLL
        for (int j = 0; j < kPack; ++j) {
          pack.v[j] = finish<T>(sum.v[j] * scale + skip * toFloat(x.v[j]), args.gelu);
        }
        storePack(args.y + rowOf(args, b, block.x()), i, args.length, args.packed, pack);
      }
      placeRows(block, args, next[thread], thread);
    });
  }

  // The thread's part of a pass's rows; zeros behind the end and behind the last batch.
  static S4OP_DEVICE Rows fetchRows(const Block& block, const Args& args, int batch, int pass, int thread) {
    Rows rows;
    S4OP_UNROLL
    for (int tile = 0; tile < kMaxTiles; ++tile) {
      const int b = batchOf(args, batch, tile);
      const bool there = tile < args.tiles && b < args.batch;
      const T* x = args.x + (there ? rowOf(args, b, block.x()) : 0);
      rows.packs[tile] =
          loadPack(x, sampleOf(args, pass, tile, thread), there ? args.length : 0, args.packed);
    }
    return rows;
  }

  static S4OP_DEVICE void placeRows(const Block& block, const Args& args, const Rows& rows, int thread) {
    S4OP_UNROLL
    for (int tile = 0; tile < kMaxTiles; ++tile) {
      if (tile < args.tiles)
        packAt(block.shared<T>(args.layout.u) + elementOf(tile, thread)) = rows.packs[tile];
    }
  }
};

template <typename T> int launchAs(const Problem& p, const KeptSet& kept, const Operands& o, Stream stream) {
  const int chunks = (p.length + kChunk - 1) / kChunk, tiles = (chunks + kTile - 1) / kTile;
  typename Kernel<T>::Args args{};
  args.x = static_cast<const T*>(o.x), args.k = o.k, args.d = o.d, args.y = static_cast<T*>(o.y);
  args.poles = reinterpret_cast<const Complex*>(o.poles);
  args.residues = reinterpret_cast<const Complex*>(o.residues);
  args.batch = p.batch, args.channels = p.channels, args.length = p.length, args.taps = p.taps;
  args.modes = p.modes, args.gelu = p.gelu, args.packed = packedRows<T>(o.x, o.y, p.length);
  args.passes = (tiles + kMaxTiles - 1) / kMaxTiles;
  args.together = tiles == 1 && p.batch > 1 ? kMaxTiles : 1;
  args.tiles = tiles == 1 ? args.together : kMaxTiles;
  const int rounds = (p.batch + args.together - 1) / args.together;
  const int wanted = (kGridBlocks + p.channels - 1) / p.channels;
  args.blocks = rounds < wanted ? rounds : wanted;
  args.layout = layoutOf<T>(p.modes);
  args.kept = kept;
  return launchKernel<Kernel<T>>(p.channels, args.blocks, static_cast<size_t>(args.layout.bytes), args,
                                 stream);
}

int bytesOf(const Problem& p, bool tf32) {
  return tf32 ? layoutOf<float>(p.modes).bytes : layoutOf<Half>(p.modes).bytes;
}

}  // namespace

// One chunk is no scan; many modes take more shared memory than a block may have.
bool supports(const Problem& problem, bool tf32, size_t sharedBytes) {
  constexpr int kMostModes = 1 << 12;  // keeps the sizes within int
  return problem.modes >= 1 && problem.modes <= kMostModes && problem.length > kChunk &&
         problem.type == (tf32 ? Type::kFloat : Type::kHalf) &&
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

}  // namespace scan
}  // namespace s4op
