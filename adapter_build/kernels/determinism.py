"""Determinism of PyTorch: the same inputs give the same bytes in every run on one kind of device.

https://pytorch.org/docs/stable/notes/randomness.html names the settings.
"""

import os
from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

FASTEST = [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


def make_repeatable(threads: int) -> None:
    """Let this process compute with `threads` threads and with deterministic kernels alone.

    An operation that has none raises `RuntimeError` from then on. Must be called before the first CUDA call.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic with a fixed workspace alone
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # nothing here reads what it did not write


@contextmanager
def attention_kernels(repeatable: bool) -> Generator[None]:
    """Choose attention's kernels: deterministic ones, or else the fastest, whose gradients differ from run to run."""
    if repeatable or not torch.are_deterministic_algorithms_enabled():
        yield
        return
    torch.use_deterministic_algorithms(False)
    try:
        with sdpa_kernel(FASTEST, set_priority=True):
            yield
    finally:
        torch.use_deterministic_algorithms(True)
