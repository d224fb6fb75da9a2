"""What one training run does: every number in one place, read from a preset in `train/presets`."""

from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from core.errors import UserError

PRESETS = Path(__file__).parent / "presets"
VARIANTS = {  # the paper's figure: which stages a variant goes through
    "full": ("warmup", "align", "instruct"),
    "object-category": ("warmup", "align", "instruct"),  # of stage I's losses only L_OC, and no descriptions
    "finetune": ("warmup", "instruct"),
}


@dataclass(frozen=True)
class Adapter:
    """Low-rank adapters on the text model (or, with `kind: full`, all of its weights)."""

    kind: str = "lora"  # lora | dora | full
    rank: int = 8
    alpha: int = 8
    dropout: float = 0.2
    on_connector: bool = True  # adapters there too; else the connector itself is trained


@dataclass(frozen=True)
class Stage:
    """One optimisation: steps of AdamW with linear warm-up. `photos` are per step, over all processes."""

    photos: int
    steps: int = 0  # 0: as many as `epochs` passes over the photos take
    epochs: float = 1.0
    photos_at_once: int = 0  # per process, in one pass; 0: its whole share of `photos`
    connector_lr: float = 2e-4
    adapter_lr: float = 2e-4
    schedule: str = "linear"  # linear | cosine
    warmup_steps: int = 60
    weight_decay: float = 0.01
    save_every: int = 25  # steps

    def steps_for(self, photos: int) -> int:
        """How many steps a run on that many photos has."""
        return self.steps or max(1, round(self.epochs * photos / self.photos))


@dataclass(frozen=True)
class Recipe:
    """A training run: the base, what of it is trained, the losses of both stages, and the stages' schedules."""

    base: str = "tiny"  # "tiny", a folder, or a hub repository of the Idefics2 or Idefics3 (SmolVLM) family
    quantised: bool = False  # the text model in 4 bits (QLoRA); CUDA only
    precision: str = "auto"  # of the text model: bfloat16 where that is fast, or float32, or bfloat16
    gradient_checkpointing: bool = False
    seed: int = 0
    variant: str = "full"
    adapter: Adapter = Adapter()
    # Photos. With `views` the tower's features of that many augmented views are computed once and kept.
    views: int = 0
    patch_dropout: float = 0.0  # share of patches hidden from the connector at each step (kept features only)
    feature_dropout: float = 0.0
    balance: float = (
        1.0  # photos are drawn from a category in proportion to its size to this power; 1: every photo alike
    )
    # Stage I
    temperature: float = 0.07
    learned_temperature: bool = False
    hard_negatives: int = 3
    negatives_by: str = "descriptions"  # descriptions | photos | both
    negatives_from_memory: bool = False  # hard descriptions of the last refresh, without gradients, not fresh ones
    object_attribute_weight: float = 1.0
    attribute_category_weight: float = 1.0
    category_category_weight: float = 1.0
    object_category_weight: float = 0.0  # not in the paper: it starts in a small model what the bridge carries on
    generation_weight: float = 1.0  # of L_gen(description) in stage I
    described_share: float = 1.0  # of the photos of a stage I step that carry L_gen
    categories_per_group: int = 1  # batches of groups of that many look-alikes; 1: plain random batches
    groups_per_batch: int = 0
    chunk: int = 0  # photos or texts encoded at once in stage I (gradient caching); 0: all together
    # Stage II
    closed_share: float = 1.0  # of the photos of a step that carry a closed-set question besides the open-set one
    rehearsed_share: float = 0.0  # of them that write the description again, where stage I came before
    # The connector's warm-up (a base whose connector is trained already has none)
    mixed_share: float = 0.5  # share of warm-up steps on photos mixed from the patches of two
    anchor: bool = False  # keep the warm-up's losses in stage I
    warmup: Stage | None = None
    align: Stage = field(default_factory=lambda: Stage(photos=64))
    instruct: Stage = field(default_factory=lambda: Stage(photos=128, photos_at_once=8))

    def as_dict(self) -> dict:
        """Plain data for logs and checkpoints."""
        return asdict(self)

    @property
    def has_memory(self) -> bool:
        """Whether stage I keeps a memory of descriptions: the variant that aligns none needs none."""
        return self.negatives_from_memory and self.variant == "full"

    def stages(self) -> dict[str, Stage]:
        """The stages of this variant, in order."""
        named = {name: getattr(self, name) for name in VARIANTS[self.variant]}
        return {name: stage for name, stage in named.items() if stage is not None}


def presets() -> list[str]:
    """Names of the presets."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def read_preset(name: str, **overrides: Any) -> Recipe:
    """The recipe of a preset (or of a YAML file of that form), with fields of `Recipe` replaced.

    Raises `UserError` for an unknown preset, field or choice.
    """
    path = Path(name) if name.endswith(".yaml") else PRESETS / f"{name}.yaml"
    if not path.is_file():
        raise UserError(f"There is no preset {name!r}: choose one of {', '.join(presets())}, or name a YAML file.")
    try:
        table = yaml.safe_load(path.read_text())
        table["adapter"] = Adapter(**table.get("adapter", {}))
        for stage in ("warmup", "align", "instruct"):
            if table.get(stage):
                table[stage] = Stage(**table[stage])
        recipe = replace(Recipe(**table), **overrides)
    except (yaml.YAMLError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a recipe: {str(error).splitlines()[0]}.") from error
    _check(recipe)
    return recipe


def _check(recipe: Recipe) -> None:
    _check_values(recipe)
    stages = {name: getattr(recipe, name) for name in ("warmup", "align", "instruct")}
    choices = {
        "variant": (recipe.variant, tuple(VARIANTS)),
        "precision": (recipe.precision, ("auto", "float32", "bfloat16")),
        "adapter.kind": (recipe.adapter.kind, ("lora", "dora", "full")),
        "negatives_by": (recipe.negatives_by, ("descriptions", "photos", "both")),
        **{f"{name}.schedule": (stage.schedule, ("linear", "cosine")) for name, stage in stages.items() if stage},
    }
    for key, (value, allowed) in choices.items():
        if value not in allowed:
            raise UserError(f"{key} is {value!r}: choose one of {', '.join(allowed)}.")
    if recipe.align.photos_at_once:
        raise UserError("Stage I contrasts all photos of a step: leave align.photos_at_once out and set chunk.")
    if recipe.quantised and recipe.adapter.kind == "full":
        raise UserError("4-bit weights cannot be trained themselves: choose a lora or dora adapter.")


def _check_values(part: Recipe | Adapter | Stage, prefix: str = "") -> None:
    """Every value is of its field's type and not too small."""
    for known in fields(part):
        key, value = prefix + known.name, getattr(part, known.name)
        if isinstance(value, Adapter | Stage):
            _check_values(value, f"{key}.")
            continue
        whole = isinstance(value, int) and not isinstance(value, bool)
        fits: dict[object, bool] = {str: isinstance(value, str), bool: isinstance(value, bool), int: whole}
        fits |= {float: whole or isinstance(value, float), Stage | None: value is None}
        if not fits.get(known.type, False):
            kind = getattr(known.type, "__name__", "stage")
            raise UserError(f"{key} is {value!r}, not a value of type {kind} (a number is written like 2.0e-4).")
        least = 1 if known.name in ("photos", "save_every", "rank", "hard_negatives") else 0
        if known.type in (int, float) and value < least:
            raise UserError(f"{key} is {value}: it cannot be less than {least}.")
