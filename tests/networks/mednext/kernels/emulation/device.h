// CUDA C++ on the CPU, lane by lane: included before a kernel's source, which g++ compiles as C++.
//
// Every CUDA thread is a fiber. Blocks run one after the other; in a block the warps run in turn,
// each until its lanes wait at a barrier of the block. At an instruction of the warp (mma,
// ldmatrix, shuffle) each lane leaves its operands and stops; when all have come, each takes its
// result.
// Lanes that come to different instructions are an error, as is a barrier that some never reach. A
// warp runs as far ahead of the others as barriers let it, first to last or last to first
// (`backwards`): results that differ between the two show a barrier that is missing.
#pragma once
#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <vector>

#define __device__
#define __global__
#define __forceinline__ inline
#define __shared__
#define __launch_bounds__(...)
using std::max;
using std::min;

struct uint4 {
  unsigned x, y, z, w;
};
struct uint2 {
  unsigned x, y;
};
struct uint3 {
  unsigned x, y, z;
};
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }

inline uint3 threadIdx, blockIdx, blockDim, gridDim;
alignas(128) inline uint4 shared_memory[99 * 64];

namespace emulation {

constexpr int WARP = 32, STACK = 64 * 1024;
enum class Stop { none, mma, matrices, transposed, shuffle, sync_warp, sync_block, end };

struct Lane {
  jmp_buf state;
  ucontext_t start;
  std::vector<char> stack = std::vector<char>(STACK);
  bool started = false;
  Stop stop = Stop::none;
  unsigned turn = 0;
};

// What the lanes of a warp leave for each other: by turns, since a lane may be one ahead.
struct Warp {
  unsigned words[2][WARP][8];
};

inline std::vector<Lane> lanes;
inline std::vector<Warp> warps;
inline Lane* current;
inline jmp_buf scheduler;
inline std::function<void()> body;
inline std::string error;
inline size_t available;  // bytes of shared memory

inline Warp& warp() { return warps[threadIdx.x / WARP]; }

inline void stop(Stop why) {
  current->stop = why;
  if (!_setjmp(current->state)) _longjmp(scheduler, 1);
}

// Leaves words, waits for the warp, and gives all lanes' words.
inline unsigned (*exchange(Stop why, const unsigned* words, int count))[8] {
  const unsigned turn = current->turn++ % 2;
  std::copy(words, words + count, warp().words[turn][threadIdx.x % WARP]);
  stop(why);
  return warp().words[turn];
}

inline void begin() {
  body();
  current->stop = Stop::end;
  _longjmp(scheduler, 1);
}

inline void resume(int thread) {
  current = &lanes[thread];
  threadIdx = {(unsigned)thread, 0, 0};
  if (_setjmp(scheduler)) return;
  if (current->started) _longjmp(current->state, 1);
  current->started = true;
  getcontext(&current->start);
  current->start.uc_stack.ss_sp = current->stack.data();
  current->start.uc_stack.ss_size = STACK;
  current->start.uc_link = nullptr;
  makecontext(&current->start, begin, 0);
  setcontext(&current->start);
}

// Runs a warp's lanes to their next stop, which must be the same.
inline Stop advance(int first) {
  for (int lane = first; lane < first + WARP; lane++) resume(lane);
  for (int lane = first; lane < first + WARP; lane++)
    if (lanes[lane].stop != lanes[first].stop) error = "lanes of a warp diverge";
  return lanes[first].stop;
}

inline void check_shared() {
  const char* bytes = (const char*)shared_memory;
  const auto written = [](char byte) { return byte != (char)0xff; };
  if (std::any_of(bytes + available, bytes + sizeof(shared_memory), written))
    error = "a write beyond the shared memory of the block";
}

inline void run_block(int threads, bool backwards) {
  for (auto& lane : lanes) lane.started = false;
  memset(shared_memory, 0xff, sizeof(shared_memory));  // NaN
  const int count = threads / WARP;
  while (error.empty()) {
    int ended = 0;
    for (int i = 0; i < count && error.empty(); i++) {
      const int first = (backwards ? count - 1 - i : i) * WARP;
      Stop why;
      do why = advance(first);
      while (error.empty() && why != Stop::sync_block && why != Stop::end);
      ended += why == Stop::end;
    }
    if (ended == count) return check_shared();
    if (ended) error = "a barrier that not all warps reach";
  }
}

// Runs a kernel; gives what was wrong, or nothing.
inline std::string launch(std::function<void()> kernel, uint3 grid, unsigned threads,
                          size_t shared_bytes, bool backwards) {
  if (shared_bytes > sizeof(shared_memory)) return "more shared memory than the emulation has";
  body = kernel, available = shared_bytes;
  lanes.resize(threads), warps.resize(threads / WARP);
  gridDim = grid, blockDim = {threads, 1, 1};
  error.clear();
  for (blockIdx.z = 0; blockIdx.z < grid.z; blockIdx.z++)
    for (blockIdx.y = 0; blockIdx.y < grid.y; blockIdx.y++)
      for (blockIdx.x = 0; blockIdx.x < grid.x; blockIdx.x++) run_block(threads, backwards);
  return error;
}

}  // namespace emulation

inline void __syncthreads() { emulation::stop(emulation::Stop::sync_block); }
inline void __syncwarp() { emulation::exchange(emulation::Stop::sync_warp, nullptr, 0); }

inline unsigned __float_as_uint(float value) {
  unsigned bits;
  memcpy(&bits, &value, 4);
  return bits;
}
inline float __uint_as_float(unsigned bits) {
  float value;
  memcpy(&value, &bits, 4);
  return value;
}
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
  const uint64_t bytes = (uint64_t)b << 32 | a;
  unsigned result = 0;
  for (int i = 0; i < 4; i++)
    result |= (unsigned)(bytes >> 8 * (selector >> 4 * i & 7) & 0xff) << 8 * i;
  return result;
}
inline float __shfl_sync(unsigned, float value, int from) {
  const unsigned bits = __float_as_uint(value);
  return __uint_as_float(emulation::exchange(emulation::Stop::shuffle, &bits, 1)[from][0]);
}
inline float __shfl_xor_sync(unsigned mask, float value, int distance) {
  return __shfl_sync(mask, value, threadIdx.x % emulation::WARP ^ distance);
}
