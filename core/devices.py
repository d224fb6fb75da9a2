"""Where a model runs and in which number format, measured rather than guessed."""

import time
from functools import cache

import torch


@cache
def default_device() -> torch.device:
    """A CUDA device if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@cache
def fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 on GPUs and on CPUs whose bfloat16 products are at least 1.5 times as fast, else float32."""
    if device.type == "cuda":
        return torch.bfloat16
    seconds = {dtype: _seconds_per_product(dtype) for dtype in (torch.float32, torch.bfloat16)}
    return torch.bfloat16 if seconds[torch.bfloat16] * 1.5 < seconds[torch.float32] else torch.float32


def _seconds_per_product(dtype: torch.dtype) -> float:
    left, right = torch.randn(256, 576, dtype=dtype), torch.randn(576, 1536, dtype=dtype)
    best = float("inf")
    for _ in range(6):
        started = time.perf_counter()
        left @ right
        best = min(best, time.perf_counter() - started)
    return best
