"""Files of tensors in half precision, or in 8 bits a weight."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

SCALE = ".scale"  # behind the name of a tensor in 8 bits
LARGEST = 127


def write_tensors(
    path: Path, tensors: dict[str, Tensor], eight_bits: bool = False, metadata: dict[str, str] | None = None
) -> None:
    """Write tensors, floating-point ones as float16.

    With `eight_bits`, those of two dimensions or more are int8, beside `<name>.scale` [..., 1] float32: every row (along
    the last dimension) is stored as multiples of a 127th of its largest absolute value.
    """
    stored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        value = tensor.detach().cpu()
        if value.is_floating_point():
            if eight_bits and value.dim() > 1:
                scale = value.float().abs().amax(dim=-1, keepdim=True) / LARGEST
                stored[name + SCALE] = scale
                value = (value.float() / scale.clamp(min=torch.finfo(torch.float).tiny)).round().to(torch.int8)
            else:
                value = value.half()
        stored[name] = value.contiguous()
    save_file(stored, path, metadata)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file, floating-point ones (also those stored in 8 bits) as float32.

    Raises `ValueError` for a tensor in 8 bits without a scale that fits or the reverse, and for a value that is not
    finite.
    """
    stored = load_file(path)
    scales = {name.removesuffix(SCALE): stored.pop(name) for name in list(stored) if name.endswith(SCALE)}
    for name in scales.keys() | {name for name, value in stored.items() if value.dtype == torch.int8}:
        value, scale = stored.get(name), scales.get(name)
        if value is None or scale is None:
            raise ValueError(f"{name} has no {'scale' if scale is None else 'tensor beside its scale'}")
        if value.dtype != torch.int8 or scale.shape != (*value.shape[:-1], 1) or not scale.is_floating_point():
            raise ValueError(f"the scale of {name} is not that of its rows")
        stored[name] = value.float() * scale
    for name, value in stored.items():
        if value.is_floating_point():
            stored[name] = value.float()
            if not stored[name].isfinite().all():
                raise ValueError(f"{name} is not finite")
    return stored
