// The instructions of the package's primitives.h, on the CPU: fragments as PTX ISA draws them.
#pragma once

inline float widened(unsigned short half) {
#if FLOAT16
  _Float16 value;
  memcpy(&value, &half, 2);
  return (float)value;
#else
  return __uint_as_float((unsigned)half << 16);
#endif
}

inline unsigned rounded(float value) {
#if FLOAT16
  const _Float16 half = (_Float16)value;
  unsigned short bits;
  memcpy(&bits, &half, 2);
  return bits;
#else
  const unsigned bits = __float_as_uint(value);
  return std::isnan(value) ? 0x7fff : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
#endif
}

inline unsigned pack(float low, float high) { return rounded(low) | rounded(high) << 16; }

inline uint4 load_voxel(const char* address) {
  uint4 voxel = {};
  if ((uintptr_t)address % 16) emulation::error = "a voxel that is not aligned";
  if (emulation::error.empty()) memcpy(&voxel, address, 16);
  return voxel;
}

inline void multiply_add(float (&sums)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  const unsigned mine[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
  const auto all = emulation::exchange(emulation::Stop::mma, mine, 6);
  const int lane = threadIdx.x % emulation::WARP;
  for (int i = 0; i < 4; i++) {
    const int row = lane / 4, column = 2 * (lane % 4) + i % 2;
    for (int k = 0; k < 16; k++) {
      const int pair = k % 8 / 2, shift = 16 * (k % 2);
      const unsigned left = all[row * 4 + pair][i / 2 + k / 8 * 2];
      const unsigned right = all[column * 4 + pair][4 + k / 8];
      sums[i] += widened(left >> shift) * widened(right >> shift);
    }
  }
}

inline void load(unsigned (&matrices)[4], const char* row, bool transposed) {
  const uint64_t address = row - (const char*)shared_memory;
  if (address % 16 || address + 16 > emulation::available)
    emulation::error = "a row of ldmatrix that is not aligned, or not there";
  const unsigned mine = address;
  const auto why = transposed ? emulation::Stop::transposed : emulation::Stop::matrices;
  const auto all = emulation::exchange(why, &mine, 1);
  const int lane = threadIdx.x % emulation::WARP;
  for (int i = 0; i < 4; i++) {
    unsigned short halves[2];
    for (int e = 0; e < 2; e++) {
      const int line = transposed ? 2 * (lane % 4) + e : lane / 4;
      const int column = transposed ? lane / 4 : 2 * (lane % 4) + e;
      memcpy(&halves[e], (const char*)shared_memory + all[8 * i + line][0] + 2 * column, 2);
    }
    matrices[i] = halves[0] | (unsigned)halves[1] << 16;
  }
}

inline void load_matrices(unsigned (&matrices)[4], const char* row) { load(matrices, row, false); }
inline void load_transposed(unsigned (&matrices)[4], const char* row) { load(matrices, row, true); }
