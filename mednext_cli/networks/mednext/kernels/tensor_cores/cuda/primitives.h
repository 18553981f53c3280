// Instructions of sm_80 and later that C++ has no words for; the tests' emulation has a file of the
// same name in its place. Layouts of fragments: PTX ISA, "Matrix Fragments for mma.m16n8k16".
#pragma once

#if FLOAT16
#define HALF_TYPE "f16"
#else
#define HALF_TYPE "bf16"
#endif

// sums (16 x 8, float32) += a (16 x 16) b (16 x 8).
__device__ __forceinline__ void multiply_add(float (&sums)[4], const unsigned (&a)[4],
                                             const unsigned (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." HALF_TYPE "." HALF_TYPE ".f32 "
               "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// 16 bytes of an image, at an aligned address in the GPU's memory.
__device__ __forceinline__ uint4 load_voxel(const char* address) {
  uint4 voxel;
  asm("ld.global.nc.v4.u32 {%0,%1,%2,%3}, [%4];"
      : "=r"(voxel.x), "=r"(voxel.y), "=r"(voxel.z), "=r"(voxel.w)
      : "l"(__cvta_generic_to_global(address)));
  return voxel;
}

// Four 8 x 8 matrices from shared memory; lane l gives the address of row l % 8 of matrix l / 8.
__device__ __forceinline__ void load_matrices(unsigned (&matrices)[4], const char* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(matrices[0]), "=r"(matrices[1]), "=r"(matrices[2]), "=r"(matrices[3])
               : "r"((unsigned)__cvta_generic_to_shared(row))
               : "memory");
}

__device__ __forceinline__ void load_transposed(unsigned (&matrices)[4], const char* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(matrices[0]), "=r"(matrices[1]), "=r"(matrices[2]), "=r"(matrices[3])
               : "r"((unsigned)__cvta_generic_to_shared(row))
               : "memory");
}

// Two values rounded to the nearest, `low` in the lower 16 bits.
__device__ __forceinline__ unsigned pack(float low, float high) {
  unsigned both;
  asm("cvt.rn." HALF_TYPE "x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
  return both;
}

__device__ __forceinline__ float widened(unsigned short half) {
#if FLOAT16
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(half));
  return value;
#else
  return __uint_as_float((unsigned)half << 16);
#endif
}
