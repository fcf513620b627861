"""The fused layers of a Llama, forward and backward, the Triton kernels below them, and packing."""
