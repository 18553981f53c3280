// The kernels behind the part of the CUDA driver's interface that launches them: a stand-in for
// libcuda. Memory between what tensors own is not checked; callers put NaN there.
#include "device.h"

#include <depthwise.cu>

namespace {

using Kernel = std::function<void(void**)>;

template <class... Parameters, size_t... I>
void call(void (*kernel)(Parameters...), void** arguments, std::index_sequence<I...>) {
  kernel(*static_cast<Parameters*>(arguments[I])...);
}

template <class... Parameters>
Kernel taking(void (*kernel)(Parameters...)) {
  return [=](void** arguments) {
    call(kernel, arguments, std::index_sequence_for<Parameters...>{});
  };
}

std::map<std::string, Kernel> kernels = {
    {"convolve", taking(convolve)},
    {"convolve_with_moments", taking(convolve_with_moments)},
    {"weight_gradient", taking(weight_gradient)},
    {"moments_gradient", taking(moments_gradient)},
};
std::string error;
bool backwards = false;
int contexts[1];
thread_local void* context = nullptr;

int failed(const std::string& why) {
  error = why;
  return 1;
}

}  // namespace

extern "C" {

void run_backwards(int last_warp_first) { backwards = last_warp_first; }

int cuCtxGetCurrent(void** current) {
  *current = contexts;
  return 0;
}

int cuCtxSetCurrent(void* wanted) {
  context = wanted;
  return 0;
}

int cuModuleLoadData(void**, const char* image) { return *image ? 0 : failed("no machine code"); }

int cuModuleGetFunction(void** function, void*, const char* name) {
  if (!kernels.count(name)) return failed("no kernel of this name");
  *function = &kernels.at(name);
  return 0;
}

int cuFuncSetAttribute(void*, int, int bytes) {
  return bytes <= 99 * 1024 ? 0 : failed("more shared memory than a GPU has");
}

int cuLaunchKernel(void* function, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned,
                   unsigned, unsigned shared_bytes, void*, void** arguments, void**) {
  if (context != contexts) return failed("a thread without a context");
  if (!x || !y || !z || y > 65535 || z > 65535) return failed("a grid that no GPU takes");
  const auto& kernel = *static_cast<Kernel*>(function);
  const auto wrong = emulation::launch([&] { kernel(arguments); }, {x, y, z}, threads, shared_bytes,
                                       backwards);
  return wrong.empty() ? 0 : failed(wrong);
}

int cuGetErrorString(int, const char** text) {
  *text = error.c_str();
  return 0;
}

}  // extern "C"
