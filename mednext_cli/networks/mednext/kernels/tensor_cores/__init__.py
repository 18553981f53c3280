"""The depthwise convolution on tensor cores, in CUDA C++; never run on a GPU so far."""
