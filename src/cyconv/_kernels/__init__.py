"""The compiled kernels: one extension module for each instruction-set level, and the CPU's level."""
