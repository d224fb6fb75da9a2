"""Where a model runs and in which number format: the same answer at every start on one machine."""

from functools import cache

import torch


@cache
def default_device() -> torch.device:
    """Return a CUDA device if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@cache
def fast_dtype(device: torch.device) -> torch.dtype:
    """Return bfloat16 on GPUs and on CPUs that multiply in it (AVX-512 BF16, AMX), float32 on others."""
    if device.type == "cuda":
        return torch.bfloat16
    able = torch.cpu.get_capabilities()
    return torch.bfloat16 if able.get("avx512_bf16") or able.get("amx_bf16") else torch.float32
