"""Turn a model folder with pickled weights, or in the format of open_clip, into one that everything else here reads."""

import json
import shutil
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from core.errors import UserError
from core.models.mobilevlm_conversion import ORIGINAL_TYPE, port_mobilevlm
from core.models.open_clip_conversion import is_open_clip, port_open_clip
from core.models.pickled_weights import file_of, read_json, read_weights
from core.progress import Progress
from core.storage.files import check_writable_folder, new_folder

SHARD_BYTES = 5 * 10**9  # the most that one file holds, unless a single tensor is larger
COPIED = ("*.json", "*.model", "*.txt", "*.jinja")  # configuration and tokenizer


def convert(source: Path, out: Path, vision_tower: Path | None = None) -> Generator[Progress, None, None]:
    """Write the model of the folder `source` to the new folder `out`, which appears when it is complete.

    MobileVLM v2 becomes a folder of `core.models.mobilevlm`, with the vision encoder of the folder `vision_tower` if its
    own weights lack one, and a CLIP of open_clip becomes a CLIPModel; of any other model the tensors keep their names,
    and the files beside them are copied. Raises `UserError` if the source is refused or incomplete, or if `out` exists,
    cannot be written or lacks room on the disk.
    """
    if out.exists():
        raise UserError(f"{out} exists: name a new folder.")
    check_writable_folder(out.absolute().parent)
    yield Progress(0.0, f"Reading {source}")
    tensors, write_others = _read(source, vision_tower)
    _check_space(out, sum(tensor.nbytes for tensor in tensors.values()))
    try:
        with new_folder(out) as scratch:
            yield from _write_shards(tensors, scratch)
            write_others(scratch)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{out} cannot be written ({error}).") from error


def _read(source: Path, vision_tower: Path | None) -> tuple[dict[str, Tensor], Callable[[Path], None]]:
    """Return the tensors under their new names, and a function that writes the other files to a folder."""
    if is_open_clip(source):
        return port_open_clip(source)
    config = read_json(source, "config.json")
    _check_plain(source, config)
    tensors = read_weights(source)
    if config.get("model_type") == ORIGINAL_TYPE:
        return port_mobilevlm(source, config, tensors, vision_tower)
    return tensors, partial(_copy_others, source)


def _check_plain(source: Path, config: dict) -> None:
    """Raise `UserError` for a model that needs no conversion, or code of its own."""
    if any(source.glob("*.safetensors")):
        raise UserError(f"{source} holds safetensors already: there is nothing to convert.")
    code = next((path.name for path in sorted(source.glob("*.py"))), "auto_map" if "auto_map" in config else "")
    if code:
        raise UserError(f"{source} brings code of its own ({code}), which is never run here: it is not converted.")


def _check_space(out: Path, size: int) -> None:
    nearest = next(folder for folder in out.absolute().parents if folder.is_dir())
    free = shutil.disk_usage(nearest).free
    if free < 1.01 * size:
        raise UserError(
            f"{out} needs {size / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free there: make room or name another folder."
        )


def _copy_others(source: Path, folder: Path) -> None:
    for path in sorted(path for pattern in COPIED for path in source.glob(pattern)):
        if not path.name.endswith(".index.json"):
            shutil.copyfile(file_of(source, path.name), folder / path.name)


def _shards(tensors: dict[str, Tensor]) -> list[list[str]]:
    """Return the names of the tensors by file, in their order."""
    shards: list[list[str]] = []
    room = 0
    for name, tensor in tensors.items():
        if not shards or tensor.nbytes > room:
            shards.append([])
            room = SHARD_BYTES
        shards[-1].append(name)
        room -= tensor.nbytes
    return shards


def _write_shards(tensors: dict[str, Tensor], folder: Path) -> Generator[Progress, None, None]:
    shards = _shards(tensors)
    total = sum(tensor.nbytes for tensor in tensors.values())
    files: dict[str, str] = {}
    done = 0
    for number, names in enumerate(shards, 1):
        yield Progress(done / total, f"{done / 1e9:.1f} of {total / 1e9:.1f} GB written")
        several = f"-{number:05}-of-{len(shards):05}" if len(shards) > 1 else ""
        file = f"model{several}.safetensors"
        save_file(_unshared({name: tensors[name] for name in names}), folder / file, metadata={"format": "pt"})
        files |= dict.fromkeys(names, file)
        done += sum(tensors[name].nbytes for name in names)
    if len(shards) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": files}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))
    yield Progress(1.0, f"{total / 1e9:.1f} GB written")


def _unshared(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors, those that share memory with an earlier one as copies: safetensors stores each by itself."""
    seen: set[int] = set()
    result = {}
    for name, tensor in tensors.items():
        memory = tensor.untyped_storage().data_ptr()
        result[name] = tensor.clone().contiguous() if memory in seen else tensor.contiguous()
        seen.add(memory)
    return result
