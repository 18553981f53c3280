// The whole program, compiled apart for each
//   KERNEL        3, 5 or 7,
//   FLOAT16       0 (bfloat16) or 1, with
//   CHANNELS      of a thread block, 8 or 16, and
//   SHARED_BYTES  of a thread block,
// and each compute capability from 8.0 on. It needs no header but its own: NVRTC brings none.
#include <convolution.h>
#include <moments_gradient.h>
#include <weight_gradient.h>
