// A depthwise K x K x K convolution, padded by P = K / 2, as products of small matrices.
//
// Tensor cores multiply (16 x 16) by (16 x 8). A channel of a depthwise convolution has no matrix,
// but neighbouring outputs share inputs. A *tile* is 2 x 4 outputs (lines x columns): eight columns
// of a product. They see K + 1 lines and K + 3 columns of a plane of the input, here for K = 5:
//
//            column  0 1 2 3   4 5 6 7
//     line 0         . . . . | . . . .    pair 0     A *group* is a pair of lines by a quad of
//          1         . . . . | . . . .               columns: 8 values, 16 aligned bytes in shared
//          --------------------------------          memory, a row that ldmatrix reads at once.
//          2         . . o o | o o . .    pair 1
//          3         . . o o | o o . .               o: the outputs of the tile, in the middle.
//          --------------------------------
//          4         . . . . | . . . .    pair 2     Two groups are the 16 of a product, a *step*.
//          5         . . . . | . . . .
//                    quad 0    quad 1
//
// The other matrix of a step holds, for input (line, column) and output (a, b), the tap at
// (line - a, column - b), or zero where that is outside of the kernel: a Toeplitz matrix. Its
// share of taps is what the products are used for: 28 % (K = 3), 52 % (5) and 51 % (7).
// Sixteen tiles are the 16 rows of a product. So for a plane of the input and a tap along D
//
//     convolution       output (16 tiles x 8)  += input (16 tiles x 16)    * Toeplitz (16 x 8)
//     gradient of taps  Toeplitz (16 x 8)      += input^T (16 x 16 tiles) * gradient (16 tiles x 8)
//
// in STEPS products. A *program* (thread block) has 16 x 16 outputs, that is 8 x 4 tiles or two
// *halves* of 8 x 2, in CHANNELS channels with a warp each, and walks along D.
//
// Zeros are multiplied, too: an infinite or NaN voxel makes NaN of outputs beyond its kernel, as
// far as its groups reach.
#pragma once
#include <primitives.h>

constexpr int K = KERNEL;
constexpr int P = K / 2;
constexpr int TAPS = K * K * K;
constexpr int THREADS = 32 * CHANNELS;
constexpr int SIDE = 16;
constexpr int PAIRS = (K + 1) / 2;
constexpr int QUADS = (K + 6) / 4;
constexpr int STEPS = PAIRS * QUADS / 2;

struct Group {
  int pair, quad;
};

// Groups are counted along the axis that has an even number of them, so that the two of a step are
// neighbours there.
__device__ constexpr Group group_of(int index) {
  return QUADS % 2 == 0 ? Group{index / QUADS, index % QUADS} : Group{index % PAIRS, index / PAIRS};
}
__device__ constexpr int index_of(Group group) {
  return QUADS % 2 == 0 ? group.pair * QUADS + group.quad : group.quad * PAIRS + group.pair;
}

// A plane in shared memory: channels, each with pairs of lines, each with quads of 16 bytes. An odd
// number of quads in a pair puts eight pairs into different banks, 16 bytes more a channel do so
// for eight channels, and 64 more for the next eight, which the same warp stores.
constexpr int PLANE_PAIRS = SIDE / 2 + P;
constexpr int PLANE_QUADS = SIDE / 4 + QUADS - 1;
constexpr int PITCH = (PLANE_QUADS | 1) * 16;
constexpr int CHANNEL_BYTES = PLANE_PAIRS * PITCH + 16;
constexpr int PLANE_BYTES = CHANNELS * CHANNEL_BYTES + CHANNELS / 8 * 64;
static_assert(4 * PLANE_BYTES <= SHARED_BYTES, "shared memory holds four planes");
constexpr int NEXT_OF_STEP = QUADS % 2 == 0 ? 16 : PITCH;

__device__ constexpr int channel_offset(int channel) {
  return channel * CHANNEL_BYTES + channel / 8 * 64;
}
__device__ constexpr int group_offset(int pair, int quad) { return pair * PITCH + quad * 16; }
__device__ constexpr int step_offset(int step, int half) {
  return group_offset(group_of(2 * step).pair, group_of(2 * step).quad + 2 * half);
}

// Tensors are (N, D, H, W, C), contiguous, 16 bits a value, C a multiple of 8.
struct Size {
  int D, H, W, C;
  __device__ long long plane() const { return (long long)H * W * C; }
};

// Where a program is: its first channel, line and column, and planes `first` to `last` - 1.
struct Place {
  int sample, channel, line, column, first, last;
};

// Grid: (tiles of H x W x blocks of channels, chunks of `planes` planes, samples).
__device__ __forceinline__ Place place_of(const Size& size, int planes) {
  const int blocks = (size.C + CHANNELS - 1) / CHANNELS, across = (size.W + SIDE - 1) / SIDE;
  const int x = blockIdx.x / blocks, first = blockIdx.y * planes;
  return {(int)blockIdx.z,     (int)(blockIdx.x % blocks) * CHANNELS,
          x / across * SIDE,   x % across * SIDE,
          first,               min(first + planes, size.D)};
}

// Counts programs without regard to their channels: (sample, chunk, tile).
__device__ __forceinline__ int program_of(const Size& size, const Place& place) {
  const int blocks = (size.C + CHANNELS - 1) / CHANNELS;
  return (place.sample * gridDim.y + blockIdx.y) * (gridDim.x / blocks) + blockIdx.x / blocks;
}

extern __shared__ uint4 shared_memory[];
__device__ __forceinline__ char* shared_bytes() { return (char*)shared_memory; }

// Brings planes from memory, where channels are last, to shared memory, channel by channel. A
// thread has one task: a quad of voxels in one line, 8 channels. It loads 4 x 16 bytes, a plane
// before they are used, transposes them in registers and stores 8 x 8 bytes.
struct Mover {
  const char* source;  // plane 0
  int target;          // offset in shared memory, negative for a thread without a task
  Size size;
  unsigned inside = 0;  // bit i: voxel i lies in the image
  uint4 voxels[4];

  __device__ static constexpr int tasks(int pairs, int quads) {
    return CHANNELS / 8 * 2 * pairs * quads;
  }

  // Task number `task`, idle where negative, of a plane that begins `lead` voxels before the place.
  __device__ Mover(const void* image, const Size& size, const Place& place, int shared, int task,
                   int pairs, int quads, int lead)
      : size(size) {
    const int channels = task % (CHANNELS / 8) * 8, rest = task / (CHANNELS / 8);
    const int line = rest / (2 * quads) * 2 + rest % 2, quad = rest % (2 * quads) / 2;
    const int h = place.line + line - lead, w = place.column + 4 * quad - lead;
    const int c = place.channel + channels;
    const bool wanted = task >= 0 && line < 2 * pairs && c < size.C && h >= 0 && h < size.H;
    for (int i = 0; i < 4; i++) inside |= (wanted && w + i >= 0 && w + i < size.W) << i;
    source = (const char*)image + 2 * (place.sample * size.D * size.plane() +
                                       ((long long)h * size.W + w) * size.C + c);
    const bool busy = task >= 0 && line < 2 * pairs;
    target = busy ? shared + channel_offset(channels) + group_offset(line / 2, quad) + line % 2 * 8
                  : -1;
  }

  __device__ __forceinline__ void fetch(int plane) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      voxels[i] = make_uint4(0, 0, 0, 0);
      if (plane >= 0 && plane < size.D && (inside >> i & 1))
        voxels[i] = load_voxel(source + 2 * (plane * size.plane() + i * size.C));
    }
  }

  __device__ __forceinline__ void put(int stage) {
    if (target < 0) return;
    const unsigned* word = (const unsigned*)voxels;
#pragma unroll
    for (int k = 0; k < 4; k++) {  // channels 2k and 2k + 1, of four voxels
      const unsigned a = word[k], b = word[4 + k], c = word[8 + k], d = word[12 + k];
      uint2* to = (uint2*)(shared_bytes() + target + stage + 2 * k * CHANNEL_BYTES);
      to[0] = make_uint2(__byte_perm(a, b, 0x5410), __byte_perm(c, d, 0x5410));
      to[CHANNEL_BYTES / 8] = make_uint2(__byte_perm(a, b, 0x7632), __byte_perm(c, d, 0x7632));
    }
  }
};

__device__ __forceinline__ float warp_sum(float value) {
  for (int distance = 16; distance; distance /= 2)
    value += __shfl_xor_sync(0xffffffffu, value, distance);
  return value;
}
