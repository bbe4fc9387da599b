"""Kernels for CUDA in Triton, their plain twins, and the choice between the two. Triton comes in with a CUDA device."""
