// The gradient of the taps: for each tap along D, input^T * gradient, as mapping.h draws it.
#pragma once
#include <mapping.h>

// Toeplitz matrices of sums; the gradient of K planes, its two halves as operands of 16 tiles.
using Sums = float[K][STEPS][4];
using Gradients = unsigned[K][2][2];

constexpr int INPUT_TASKS = Mover::tasks(PLANE_PAIRS, PLANE_QUADS);
constexpr int GRADIENT_TASKS = Mover::tasks(SIDE / 2, SIDE / 4);
static_assert(INPUT_TASKS + GRADIENT_TASKS <= THREADS, "a thread has one task");
static_assert(CHANNELS * STEPS * 16 * 8 * 4 <= 4 * PLANE_BYTES, "a matrix of sums a warp");

// Input plane and the gradients that its taps meet: tap t along D the slot `newest` - t.
template <int newest>
__device__ __forceinline__ void correlate_plane(Sums& sums, const Gradients& gradients,
                                                const char* rows) {
#pragma unroll
  for (int half = 0; half < 2; half++)
#pragma unroll
    for (int step = 0; step < STEPS; step++) {
      unsigned input[4];
      load_transposed(input, rows + step_offset(step, half));
#pragma unroll
      for (int t = 0; t < K; t++)
        multiply_add(sums[t][step], input, gradients[(newest - t + K) % K][half]);
    }
}

// The first threads bring the input, the last ones the gradient.
__device__ __forceinline__ Mover mover_of(const void* x, const void* gradient, const Size& size,
                                          const Place& place) {
  const int from_end = (int)threadIdx.x - (THREADS - GRADIENT_TASKS);
  if (from_end >= 0)
    return Mover(gradient, size, place, 2 * PLANE_BYTES, from_end, SIDE / 2, SIDE / 4, 0);
  const int task = (int)threadIdx.x < INPUT_TASKS ? (int)threadIdx.x : -1;
  return Mover(x, size, place, 0, task, PLANE_PAIRS, PLANE_QUADS, P);
}

struct Walk {
  Size size;
  Place place;
  Mover mover;
  int delay, from;  // of the planes that this thread brings, in planes; the first one wanted
  Sums sums = {};
  Gradients gradients;
  float total = 0;  // of the gradient: the bias's
  int rows, gradient_rows;  // offsets of the rows that this lane names to ldmatrix

  // Shared memory: two planes of input, two of the gradient, used in turn.
  __device__ Walk(const void* x, const void* gradient, const Size& size, const Place& place)
      : size(size),
        place(place),
        mover(mover_of(x, gradient, size, place)) {
    const bool brings_input = (int)threadIdx.x < THREADS - GRADIENT_TASKS;
    delay = brings_input ? 2 * P : P;
    from = brings_input ? place.first : 0;
    const int lane = threadIdx.x % 32, channel = channel_offset(threadIdx.x / 32);
    rows = channel + group_offset(lane % 8, lane / 16) + lane / 8 % 2 * NEXT_OF_STEP;
    gradient_rows = 2 * PLANE_BYTES + channel + group_offset(lane % 8, lane / 8);
  }

  __device__ __forceinline__ void fetch(int i) {
    const int plane = place.first - delay + i;
    mover.fetch(plane >= from ? plane : -1);
  }

  // Step i has the gradient's plane i - P from the first of the input's, and the input's plane
  // i - 2P: the gradients that it meets, of steps i - 2P to i, are all there.
  template <int newest>
  __device__ __forceinline__ void step(int i) {
    const int plane = place.first - P + i, stage = i % 2 * PLANE_BYTES;
    unsigned quads[4];
    load_transposed(quads, shared_bytes() + gradient_rows + stage);
    const bool counted = plane >= place.first && plane < place.last;
#pragma unroll
    for (int quad = 0; quad < 4; quad++) {
      gradients[newest][quad / 2][quad % 2] = quads[quad];
      if (counted) total += widened(quads[quad]) + widened(quads[quad] >> 16);
    }
    if (i >= K - 1) correlate_plane<newest>(sums, gradients, shared_bytes() + rows + stage);
    mover.put(PLANE_BYTES - stage);
    __syncthreads();
    fetch(i + 2);
  }

  template <int newest>
  __device__ __forceinline__ void steps(int first, int count) {
    if (first + newest < count) step<newest>(first + newest);
    if constexpr (newest + 1 < K) steps<newest + 1>(first, count);
  }

  __device__ __forceinline__ void walk() {
    fetch(0);
    mover.put(0);
    fetch(1);
    __syncthreads();
    const int count = place.last - place.first + K - 1;
    for (int first = 0; first < count; first += K) steps<0>(first, count);
  }

  // A tap's sum stands once for each of the 8 outputs in the Toeplitz matrix: (input, output). It
  // takes the place of the planes, which nobody reads after the barrier of the last step.
  __device__ __forceinline__ void store(float* to) {
    const int lane = threadIdx.x % 32;
    float* matrix = (float*)shared_memory + threadIdx.x / 32 * (STEPS * 16 * 8);
#pragma unroll
    for (int t = 0; t < K; t++) {
#pragma unroll
      for (int i = 0; i < STEPS * 4; i++)
        matrix[(i / 4 * 16 + i / 2 % 2 * 8 + lane / 4) * 8 + lane % 4 * 2 + i % 2] =
            sums[t][i / 4][i % 4];
      __syncwarp();
      for (int tap = lane; to && tap < K * K; tap += 32) to[t * K * K + tap] = tap_sum(matrix, tap);
      __syncwarp();
    }
    total = warp_sum(total);
    if (to && lane == 0) to[TAPS] = total;
  }

  __device__ static float tap_sum(const float* matrix, int tap) {
    float sum = 0;
#pragma unroll
    for (int output = 0; output < 8; output++) {
      const int line = tap / K + output / 4, column = tap % K + output % 4;
      const int group = index_of({line / 2, column / 4});
      sum += matrix[(group * 8 + line % 2 * 4 + column % 4) * 8 + output];
    }
    return sum;
  }
};

// x and gradient (N, D, H, W, C); partial (programs, C, K^3 + 1), float32: the taps and the bias.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    weight_gradient(const void* x, const void* gradient, float* partial, int D, int H, int W, int C,
                    int planes) {
  const Size size = {D, H, W, C};
  const Place place = place_of(size, planes);
  Walk walk(x, gradient, size, place);
  walk.walk();
  const int channel = place.channel + threadIdx.x / 32;
  const long long index = (long long)program_of(size, place) * C + channel;
  walk.store(channel < C ? partial + index * (TAPS + 1) : nullptr);
}
