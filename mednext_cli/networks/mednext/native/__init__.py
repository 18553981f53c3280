"""Blocks of MedNeXt on a CPU by kernels of our own, where they were compiled; see `vectors.h`."""
