"""Draw augmented views of decoded photos, in batches, on the device that trains; random numbers are torch's own."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Augmentation:
    """How far a view may differ from its photo."""

    least_area: float = 0.35  # of the photo that a view shows
    aspect: float = 0.3  # largest logarithm of the crop's change of aspect
    rotation: float = 12.0  # degrees at most, for half of the views
    colour: float = 0.4  # largest change of brightness, contrast and saturation

    def __call__(self, photos: Tensor, size: int) -> Tensor:
        """Return views [B, 3, size, size] float32 in [0, 255] of photos [B, S, S, 3] uint8; half are mirrored."""
        images = photos.permute(0, 3, 1, 2).float()
        grid = F.affine_grid(self._crops(len(images), images.device), [len(images), 3, size, size], align_corners=False)
        views = F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
        return self._coloured(views).clamp(0, 255)

    def _crops(self, count: int, device: torch.device) -> Tensor:
        """Return random affine maps [B, 2, 3] from a view to the part of the photo that it shows."""

        def uniform(low: float, high: float) -> Tensor:
            return torch.empty(count, device=device).uniform_(low, high)

        area, ratio = uniform(self.least_area, 1.0), uniform(-self.aspect, self.aspect).exp()
        width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
        left, top = uniform(-1, 1) * (1 - width), uniform(-1, 1) * (1 - height)
        angle = torch.deg2rad(uniform(-self.rotation, self.rotation)) * (uniform(0, 1) < 0.5)
        flip = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
        rows = [
            torch.stack([width * flip * angle.cos(), -height * angle.sin(), left], dim=-1),
            torch.stack([width * flip * angle.sin(), height * angle.cos(), top], dim=-1),
        ]
        return torch.stack(rows, dim=1)

    def _coloured(self, views: Tensor) -> Tensor:
        def factor() -> Tensor:
            return torch.empty(len(views), 1, 1, 1, device=views.device).uniform_(1 - self.colour, 1 + self.colour)

        views = views * factor()
        mean = views.mean((1, 2, 3), keepdim=True)
        views = (views - mean) * factor() + mean
        grey = views.mean(1, keepdim=True)
        return (views - grey) * factor() + grey


def plain_view(photos: Tensor, size: int) -> Tensor:
    """Return whole photos [B, 3, size, size] float32 in [0, 255], from photos [B, S, S, 3] uint8."""
    images = photos.permute(0, 3, 1, 2).float()
    if images.shape[-1] == size:
        return images
    return F.interpolate(images, size=(size, size), mode="bicubic", antialias=True).clamp(0, 255)


def kept_patches(states: Tensor, noise: Tensor, dropped: float) -> Tensor:
    """Return the patches [B, P', D] of states [B, P, D] with the lowest noise [B, P], without the share `dropped`."""
    chosen = noise.argsort(dim=1)[:, : round((1 - dropped) * states.shape[1])]
    return states.gather(1, chosen[..., None].expand(-1, -1, states.shape[-1]))


def mix_patches(states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return states [B, P, D] that have a random share [B] of their own patches each, the rest from `others` [B]."""
    count, patches, _ = states.shape
    others = torch.randperm(count, device=states.device)
    own = torch.rand(count, patches, device=states.device) < torch.rand(count, 1, device=states.device)
    return torch.where(own[..., None], states, states[others]), others, own.float().mean(dim=1)


def cutmix(views: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return views [B, 3, S, S] with a square of another one each, and their targets [B, C] (Yun et al. 2019)."""
    size = views.shape[-1]
    side = int(size * (1 - torch.rand(()).item()) ** 0.5)
    left, top = torch.randint(0, size - side + 1, (2,)).tolist()
    others = torch.randperm(len(views), device=views.device)
    mixed = views.clone()
    mixed[:, :, top : top + side, left : left + side] = views[others, :, top : top + side, left : left + side]
    share = 1 - side**2 / size**2
    return mixed, share * targets + (1 - share) * targets[others]


def mixup(views: Tensor, targets: Tensor, alpha: float = 0.3) -> tuple[Tensor, Tensor]:
    """Return convex mixtures of pairs of views [B, 3, S, S] and of their targets [B, C] (Zhang et al. 2018)."""
    share = torch.distributions.Beta(alpha, alpha).sample().item()
    others = torch.randperm(len(views), device=views.device)
    return share * views + (1 - share) * views[others], share * targets + (1 - share) * targets[others]
