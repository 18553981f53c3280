// The gradient of a convolution's result with what reaches it through its mean and variance.
#pragma once
#include <mapping.h>

// Thirty-two bits without pattern, the same for the same number in every run (MurmurHash3's end).
__device__ __forceinline__ unsigned scattered(unsigned number) {
  number = (number ^ number >> 16) * 0x85ebca6bu;
  number = (number ^ number >> 13) * 0xc2b2ae35u;
  return number ^ number >> 16;
}

// Adds up to half a step of the 16-bit type either way: the nearest number is then the upper one as
// often as the value is near to it (stochastic rounding). What comes through the moments is a small
// part of a step, much the same in all voxels of a channel: rounding to the nearest would lose it
// in each of them, and with it 20 to 40 % of the taps' gradient, a sum over all.
__device__ __forceinline__ float dithered(float value, unsigned bits) {
  const float power = __uint_as_float(__float_as_uint(value) & 0x7f800000u);
  const float step = FLOAT16 ? fmaxf(power * 0x1p-10f, 0x1p-24f) : power * 0x1p-7f;
  return value + step * ((float)(bits & 0xffff) - 32767.5f) * 0x1p-16f;
}

// gradient + constant + slope y, rounded once more. Gradient, y and result (N, D, H, W, C); terms
// (N, 2, C), float32: constant and slope. A thread has 8 channels of a voxel.
extern "C" __global__ void __launch_bounds__(256)
    moments_gradient(const uint4* gradient, const uint4* y, const float* terms, uint4* result,
                     int N, int D, int H, int W, int C) {
  const long long index = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  const long long vectors = Size{D, H, W, C}.plane() * D / 8;  // of a sample
  if (index >= N * vectors) return;
  const float* constant = terms + index / vectors * 2 * C + index % (C / 8) * 8;
  const float* slope = constant + C;
  const uint4 given = gradient[index], value = y[index];
  const unsigned g[4] = {given.x, given.y, given.z, given.w};
  const unsigned v[4] = {value.x, value.y, value.z, value.w};
  unsigned both[4];
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const unsigned bits = scattered((unsigned)index * 4 + i);
    const auto added = [&](int e) {
      const float through = constant[2 * i + e] + slope[2 * i + e] * widened(v[i] >> 16 * e);
      return dithered(widened(g[i] >> 16 * e) + through, bits >> 16 * e);
    };
    both[i] = pack(added(0), added(1));
  }
  result[index] = make_uint4(both[0], both[1], both[2], both[3]);
}
