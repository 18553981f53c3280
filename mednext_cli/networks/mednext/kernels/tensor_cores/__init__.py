"""The depthwise convolution on tensor cores, in CUDA C++."""
