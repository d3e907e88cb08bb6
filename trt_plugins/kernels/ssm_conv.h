// SSMConv: what it computes, what it reads, and how to launch it. No TensorRT in here.
//
//   y[b, c] = (k[i] * x[b, c]) + d[i] x[b, c]   for the i-th kept channel c   (* causal, over length)
//   y[b, c] = x[b, c]                           for every other channel
//   y = gelu(y), the exact one (erf)            if asked, for all channels
//
// Everything is launched on the caller's stream; nothing allocates or waits, nothing throws. Functions
// that can fail return 0 or a cudaError_t.
#pragma once

#include "device.h"

namespace s4op {

enum class Type : int32_t { kFloat = 0, kHalf = 1 };

// The numbers are part of engines and timing caches: never reuse one.
enum class Tactic : int32_t {
  kFft = 1,           // exact float32; any length
  kScan = 2,          // chunked state space, half operands on tensor cores; S4D (poles and residues)
  kToeplitz = 3,      // half operands on tensor cores; length <= kMaxToeplitz
  kScanTf32 = 4,      // kScan with float operands rounded to TF32; only when asked
  kToeplitzTf32 = 5,  // kToeplitz with float operands rounded to TF32; only when asked
};

constexpr int kMaxChannels = 4096;
constexpr int kMaxFft = 16384;     // longest sequence of one shared-memory transform
constexpr int kMaxToeplitz = 512;  // longest sequence worth its square

// Which of the channels are kept, by value in the kernel's arguments: no memory on the device.
struct KeptSet {
  uint32_t bits[kMaxChannels / 32];
  uint16_t before[kMaxChannels / 32];  // kept channels in the words before

  // Index among the kept channels, or -1.
  S4OP_DEVICE int indexOf(int channel) const {
    const uint32_t word = bits[channel >> 5], bit = 1u << (channel & 31);
    return word & bit ? before[channel >> 5] + popcount(word & (bit - 1)) : -1;
  }
};

// `channels` ascending, within [0, kMaxChannels).
KeptSet keptSet(const int32_t* channels, int count);

struct Problem {
  int batch;     // B
  int channels;  // H
  int kept;      // Hk
  int length;    // L
  int taps;      // Lk >= L: the distance between rows of k; the first L taps count
  int modes;     // M of S4D's state form, 0 where there is none (S4)
  Type type;     // of x and y
  bool gelu;
};

struct Operands {
  const void* x;          // (B, H, L)
  const float* k;         // (Hk, Lk)
  const float* d;         // (Hk)
  const float* poles;     // (Hk, M, 2), or null
  const float* residues;  // (Hk, M, 2), or null
  void* y;                // (B, H, L)
  void* workspace;        // workspaceBytes(), 256-byte aligned
};

// Whether `tactic` can compute `problem`, on a device whose blocks may have `sharedBytes` of shared
// memory (163 KiB on Orin, 227 KiB on H100). TF32 tactics are for float I/O, half ones for half I/O.
bool supports(Tactic tactic, const Problem& problem, size_t sharedBytes);

// Device memory the tactic needs for its own use.
size_t workspaceBytes(Tactic tactic, const Problem& problem);

// Once before the first launch of a problem (not while a stream is captured): raises kernels' limits.
int prepare(Tactic tactic, const Problem& problem);

// Launch the whole operator for all batches and channels. The problem must be supported and prepared.
int launch(Tactic tactic, const Problem& problem, const KeptSet& kept, const Operands& operands, Stream stream);

}  // namespace s4op
