// The convolution with stride 1, and its input's gradient: the same with taps in reverse order.
#pragma once
#include <mapping.h>

// A lane's outputs of a half: columns 0 and 1 are outputs 2 (lane % 4) and the next of tile
// (lane / 4, first quad of the half), columns 2 and 3 the same of the second quad.
using Slots = float[K][2][4];

// The Toeplitz matrices of a warp's channel, rounded to 16 bits: they stay in registers.
__device__ __forceinline__ void make_toeplitz(unsigned (&toeplitz)[K][STEPS][2],
                                              const float* taps, bool flipped) {
  const int lane = threadIdx.x % 32, a = lane / 16, b = lane / 4 % 4;
#pragma unroll
  for (int i = 0; i < K * STEPS * 2; i++) {
    const Group group = group_of(i % (STEPS * 2));
    float pair[2];
#pragma unroll
    for (int e = 0; e < 2; e++) {
      const int inner = 2 * (lane % 4) + e;  // of the 8 of a group
      const int u = 2 * group.pair + inner / 4 - a, v = 4 * group.quad + inner % 4 - b;
      const int tap = (i / (STEPS * 2) * K + u) * K + v;
      const bool there = taps && u >= 0 && u < K && v >= 0 && v < K;
      pair[e] = there ? taps[flipped ? TAPS - 1 - tap : tap] : 0.0f;
    }
    toeplitz[i / (STEPS * 2)][i / 2 % STEPS][i % 2] = pack(pair[0], pair[1]);
  }
}

// A plane of the input, seen by K planes of outputs: tap t along D by the slot `newest` - t.
template <int newest>
__device__ __forceinline__ void convolve_plane(Slots& slots,
                                               const unsigned (&toeplitz)[K][STEPS][2],
                                               const char* rows) {
#pragma unroll
  for (int half = 0; half < 2; half++)
#pragma unroll
    for (int step = 0; step < STEPS; step++) {
      unsigned input[4];
      load_matrices(input, rows + step_offset(step, half));
#pragma unroll
      for (int t = 0; t < K; t++)
        multiply_add(slots[(newest - t + K) % K][half], input, toeplitz[t][step]);
    }
}

// Sums of outputs as they were rounded, less the first of them: no digits are lost far from zero.
struct Moments {
  float shift = 0, sum = 0, squares = 0;
  unsigned valid = 0;

  __device__ Moments(const Size& size, const Place& place) {
    const int lane = threadIdx.x % 32;
    for (int i = 0; i < 8; i++)
      valid |= (place.line + lane / 2 < size.H &&
                place.column + i / 2 * 4 + lane % 2 * 2 + i % 2 < size.W)
               << i;
  }
  __device__ __forceinline__ void add(unsigned both, int quad) {
#pragma unroll
    for (int e = 0; e < 2; e++) {
      const float value = widened(both >> 16 * e) - shift;
      const float counted = valid >> (2 * quad + e) & 1 ? value : 0.0f;
      sum += counted;
      squares += counted * counted;
    }
  }
  // Mean, sum of squared differences and number, at intervals of C.
  __device__ void store(float* to, int C, float number) {
    sum = warp_sum(sum), squares = warp_sum(squares);
    if (threadIdx.x % 32) return;
    to[0] = shift + sum / number;
    to[C] = squares - sum * sum / number;
    to[2 * C] = number;
  }
};

// A finished plane goes to shared memory, group by group as an input does.
template <bool MOMENTS>
__device__ __forceinline__ void finish(float (&slot)[2][4], char* to, float bias, bool is_first,
                                       bool wanted, Moments& moments) {
#pragma unroll
  for (int quad = 0; quad < 4; quad++) {
    float* two = &slot[quad / 2][quad % 2 * 2];
    const unsigned both = pack(two[0], two[1]);
    if (MOMENTS && is_first && quad == 0)
      moments.shift = __shfl_sync(0xffffffffu, widened(both), 0);
    if (MOMENTS && wanted) moments.add(both, quad);
    *(unsigned*)(to + group_offset(0, quad)) = both;
    two[0] = two[1] = bias;
  }
}

// From shared memory to y, channels last: a warp has four matrices of 8 channels x 8 positions, all
// blocks of 8 channels of a tile before the next tile of the same pair of lines.
struct Writer {
  static constexpr int BLOCKS = CHANNELS / 8;
  char* y;              // this lane's two values of the first matrix, in plane 0
  int rows;             // offset of the row of a matrix that this lane names to ldmatrix
  unsigned inside = 0;  // bit i: this lane's values of matrix i lie in the image
  Size size;

  __device__ Writer(void* result, const Size& size, const Place& place) : size(size) {
    const int lane = threadIdx.x % 32, first = threadIdx.x / 32 * 4, tile = first / BLOCKS;
    const int mine = first + lane / 8, from = mine / BLOCKS;
    rows = channel_offset(mine % BLOCKS * 8 + lane % 8) + group_offset(from / 4, from % 4);
    const int h = place.line + tile / 4 * 2 + lane / 16;
    const int w = place.column + tile % 4 * 4 + lane / 4 % 4, c = place.channel + lane % 4 * 2;
    for (int i = 0; i < 4; i++)
      inside |= (h < size.H && w + i / BLOCKS * 4 < size.W && c + i % BLOCKS * 8 < size.C) << i;
    y = (char*)result + 2 * (place.sample * size.D * size.plane() +
                             ((long long)h * size.W + w) * size.C + c);
  }

  __device__ __forceinline__ void store(int plane, int stage) const {
    unsigned matrices[4];
    load_transposed(matrices, shared_bytes() + 2 * PLANE_BYTES + stage + rows);
    char* to = y + 2 * plane * size.plane();
#pragma unroll
    for (int i = 0; i < 4; i++)
      if (inside >> i & 1)
        *(unsigned*)(to + 2 * (i / BLOCKS * 4 * size.C + i % BLOCKS * 8)) = matrices[i];
  }
};

template <bool MOMENTS>
struct March {
  Size size;
  Place place;
  float bias;
  Slots slots;
  unsigned toeplitz[K][STEPS][2];
  Mover mover;
  Writer writer;
  Moments moments;
  int rows;      // offset of the row of a matrix that this lane names to ldmatrix
  int finished;  // and of where it leaves its outputs

  // Shared memory: two planes of input, two of outputs, used in turn: one barrier a plane.
  __device__ March(const void* x, void* y, const Size& size, const Place& place)
      : size(size),
        place(place),
        mover(x, size, place, 0, threadIdx.x, PLANE_PAIRS, PLANE_QUADS, P),
        writer(y, size, place),
        moments(size, place) {
    const int lane = threadIdx.x % 32, channel = channel_offset(threadIdx.x / 32);
    rows = channel + group_offset(lane % 8, lane / 8 % 2) + lane / 16 * NEXT_OF_STEP;
    finished = 2 * PLANE_BYTES + channel + group_offset(lane / 4, 0) + lane % 4 * 4;
  }

  // Plane i of the walk, counted from P before the first output; slot i % K is the newest output.
  template <int newest>
  __device__ __forceinline__ void step(int i) {
    const int plane = place.first - P + i, stage = i % 2 * PLANE_BYTES;
    if (plane >= 0 && plane < size.D)
      convolve_plane<newest>(slots, toeplitz, shared_bytes() + rows + stage);
    const bool complete = i >= K - 1;
    finish<MOMENTS>(slots[(newest + 1) % K], shared_bytes() + finished + stage, bias, i == K - 1,
                    complete, moments);
    mover.put(PLANE_BYTES - stage);
    __syncthreads();
    mover.fetch(plane + 2);
    if (complete) writer.store(plane - P, stage);
  }

  template <int newest>
  __device__ __forceinline__ void steps(int first, int count) {
    if (first + newest < count) step<newest>(first + newest);
    if constexpr (newest + 1 < K) steps<newest + 1>(first, count);
  }

  __device__ __forceinline__ void walk() {
#pragma unroll
    for (int i = 0; i < K * 8; i++) slots[i / 8][i / 4 % 2][i % 4] = bias;
    mover.fetch(place.first - P);
    mover.put(0);
    mover.fetch(place.first - P + 1);
    __syncthreads();
    const int count = place.last - place.first + K - 1;
    for (int first = 0; first < count; first += K) steps<0>(first, count);
  }
};

// x and y (N, D, H, W, C); taps (C, K, K, K) and bias (C) or null, float32; partial, float32, is
// (N, programs, 3, C).
template <bool MOMENTS>
__device__ __forceinline__ void convolve_block(const void* x, const float* taps, const float* bias,
                                               void* y, float* partial, const Size& size,
                                               int planes, bool flipped) {
  const Place place = place_of(size, planes);
  March<MOMENTS> march(x, y, size, place);
  const int channel = place.channel + threadIdx.x / 32;
  const bool exists = channel < size.C;
  march.bias = bias && exists ? bias[channel] : 0.0f;
  make_toeplitz(march.toeplitz, exists ? taps + (long long)channel * TAPS : nullptr, flipped);
  march.walk();
  if (!MOMENTS || !exists) return;
  const int number = min(SIDE, size.H - place.line) * min(SIDE, size.W - place.column);
  march.moments.store(partial + (long long)program_of(size, place) * 3 * size.C + channel, size.C,
                      (float)(number * (place.last - place.first)));
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
    convolve(const void* x, const float* taps, const float* bias, void* y, int D, int H, int W,
             int C, int planes, int flipped) {
  convolve_block<false>(x, taps, bias, y, nullptr, {D, H, W, C}, planes, flipped);
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
    convolve_with_moments(const void* x, const float* taps, const float* bias, void* y,
                          float* partial, int D, int H, int W, int C, int planes) {
  convolve_block<true>(x, taps, bias, y, partial, {D, H, W, C}, planes, false);
}
