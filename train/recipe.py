"""What one training run does: every number in one place."""

from dataclasses import asdict, dataclass, field


@dataclass(frozen=True)
class Stage:
    """One optimisation: steps of AdamW with linear warm-up and cosine decay."""

    steps: int
    photos: int  # photos per step
    connector_lr: float
    adapter_lr: float = 0.0
    warmup_steps: int = 20
    weight_decay: float = 0.01


@dataclass(frozen=True)
class Recipe:
    """The two checkpoints of `make train-tiny`."""

    seed: int = 0
    views: int = 4  # cached views per photo, the first of them unaltered
    patch_dropout: float = 0.5  # share of patch tokens hidden from the connector at each step
    feature_dropout: float = 0.1
    mixed_share: float = 0.5  # share of warm-up steps on photos mixed from the patches of two
    lora_rank: int = 6  # with the connector, as much as fits into a checkpoint of 25 MB
    lora_alpha: int = 12
    lora_dropout: float = 0.0
    temperature: float = 0.05
    category_category_weight: float = 0.1  # of L_CCC inside the parentheses of the stage I loss
    hard_negatives: int = 20
    object_category_weight: float = 1.0  # of a direct object-name loss there: it starts what the bridge carries on
    groups_per_batch: int = 8  # of look-alikes: hard negatives inside a group, easy ones between groups
    categories_per_group: int = 3
    generation_weight: float = 0.25  # of L_gen in stage I: at 1 it drowns the contrastive gradients of a small model
    described_photos: int = 4  # photos per stage I step that carry L_gen
    closed_photos: int = 8  # photos per stage II step that also carry a closed-set question
    rehearsed_photos: int = 6  # photos per stage II step that carry L_gen again, where stage I came before
    warmup: Stage = field(default_factory=lambda: Stage(600, 96, connector_lr=1.5e-3, weight_decay=0.05))
    stage1: Stage = field(default_factory=lambda: Stage(240, 72, connector_lr=3e-4, adapter_lr=1.5e-3, warmup_steps=10))
    stage2: Stage = field(default_factory=lambda: Stage(72, 32, connector_lr=1e-4, adapter_lr=5e-4))

    def as_dict(self) -> dict:
        """Plain data for logs and checkpoints."""
        return asdict(self)
