"""Define the settings of a training run, and read them from a preset in `train/presets`."""

import json
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from core.errors import UserError
from core.models.calibration import WordSource
from core.models.embedded import EMBEDDED
from train.choices import NegativesBy, Variant
from train.setting_errors import sentence

PRESETS = Path(__file__).parent / "presets"
STAGES: dict[Variant, tuple[str, ...]] = {  # the stages that each variant of the paper's figure goes through
    "full": ("warmup", "align", "instruct"),
    "object-category": ("warmup", "align", "instruct"),  # of stage I's losses only L_OC, and no descriptions
    "finetune": ("warmup", "instruct"),
    "finetune-longer": ("warmup", "instruct"),  # as many further steps of stage II as stage I takes
}

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
DropoutRate = Annotated[float, Field(ge=0, lt=1)]


class Settings(BaseModel):
    """A table of settings: unknown keys and values of another type raise an error."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    def changed(self, **values: Any) -> Self:
        """Return a copy with other values, which are validated."""
        return self.model_validate({**dict(self), **values})


class Adapter(Settings):
    """Low-rank adapters on the text model (or, with `kind: full`, all of its weights)."""

    kind: Literal["lora", "dora", "full"] = "lora"
    rank: Positive = 8
    alpha: Count = 8
    dropout: DropoutRate = 0.2
    on_connector: bool = True  # add adapters to the connector; else train the connector itself


class Optimisation(Settings):
    """Steps of AdamW with linear warm-up. `photos` are per step, over all processes."""

    photos: Positive
    steps: Count = 0  # 0: as many as `epochs` passes over the photos take
    epochs: Weight = 1.0
    photos_at_once: Count = 0  # per process, in one pass; 0: its whole share of `photos`
    schedule: Literal["linear", "cosine"] = "linear"
    warmup_steps: Count = 60
    weight_decay: Weight = 0.01
    save_every: Positive = 25  # steps

    def steps_for(self, photos: int) -> int:
        """Return the number of steps of a run on that many photos."""
        return self.steps or max(1, round(self.epochs * photos / self.photos))


class Stage(Optimisation):
    """The optimisation of the connector and the adapter."""

    connector_lr: Weight = 2e-4
    adapter_lr: Weight = 2e-4


class EncoderStage(Optimisation):
    """The fine-tuning of the embedded vision encoder as a classifier of the training categories."""

    lr: Weight = 1e-3  # of the last layer; three times that for the classifier
    layer_decay: Share = 0.93  # factor of the learning rate from each block to the one before
    frozen_blocks: Count = 3  # first blocks that stay as they are
    sizes: list[Positive] = Field([224], min_length=1)  # pixels per side, each for an equal part of the steps
    size: Positive = 256  # pixels per side in use
    label_smoothing: Share = 0.1  # spread over the categories of the same super-category
    least_area: Share = 0.35  # of a photo that an augmented view shows
    distillation: Weight = 1.0  # weight of the pretrained encoder's own ImageNet answers as targets (Li & Hoiem 2016)
    cutmix_share: Share = 0.35  # of the steps
    mixup_share: Share = 0.25
    average: Share = 0.998  # decay of the moving average of the weights
    # Of the tuned weights, the rest pretrained: the held-out photos choose among these shares.
    kept_shares: list[Share] = Field([1.0], min_length=1)


class Recipe(Settings):
    """A training run: the base, what of it is trained, the losses of both stages, and the stages' schedules."""

    base: str = "tiny"  # "tiny", a folder, or a hub repository of the Idefics2 or Idefics3 (SmolVLM) family
    quantised: bool = False  # the text model in 4 bits (QLoRA); CUDA only
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # of the text model; auto: bfloat16 where it is fast
    gradient_checkpointing: bool = False
    compiled: bool = False  # the text model's layers, by torch.compile, which needs a C++ compiler for a CPU
    seed: Count = 0
    variant: Variant = "full"
    adapter: Adapter = Adapter()
    held_out_share: Share = 0.1  # of every category of 8 photos or more, for calibration
    # Photos. With `augmented`, every step draws fresh augmented views and runs the vision encoder on them (for GPUs).
    augmented: bool = False
    least_area: Share = 0.35  # of a photo that an augmented view shows
    # With `views` the vision encoder's features of that many augmented views are computed once and cached.
    views: Count = 0
    patch_dropout: DropoutRate = 0.0  # share of patches dropped at each step (with `views` or `augmented`)
    feature_dropout: DropoutRate = 0.0
    balance: Weight = 1.0  # categories are drawn in proportion to size ** balance; 1: every photo equally often
    # Stage I
    object_bos: bool = True  # begin the sequence that embeds a photo with BOS; the release has none
    temperature: float = Field(0.07, ge=0.001, le=0.5)
    learned_temperature: bool = False
    hard_negatives: Positive = 3
    negatives_by: NegativesBy = "descriptions"
    negatives_from_memory: bool = False  # take hard negative descriptions from a memory bank, without gradients
    object_attribute_weight: Weight = 1.0
    attribute_category_weight: Weight = 1.0
    category_category_weight: Weight = 1.0
    object_category_weight: Weight = 0.0  # not in the paper; a small model needs it early in stage I
    generation_weight: Weight = 1.0  # of L_gen(description) in stage I
    described_share: Share = 1.0  # of the photos of a stage I step that carry L_gen
    categories_per_group: Count = 1  # batches of groups of that many nearest categories; 1: random batches
    groups_per_batch: Count = 0
    shared_negatives: bool = False  # contrast every photo with the hard negatives of all photos of its step
    chunk: Count = 0  # photos or texts encoded at once in stage I (gradient caching); 0: all together
    # Stage II
    open_weight: Weight = 1.0  # of the open-set answers
    closed_share: Share = 1.0  # of the photos of a step that carry a closed-set question besides the open-set one
    closed_answer: Literal["letter", "letter and name"] = "letter"
    closed_letter_weight: Weight = 1.0  # of the letter's loss, in place of 1 for every other token of an answer
    # Options are drawn from that many nearest categories, an entry per question.
    option_pools: list[Positive] = Field([12], min_length=1)
    aligned_share: Share = 0.0  # of the photos of a step that keep stage I's contrastive losses, where it came before
    aligned_weight: Weight = 1.0  # of these losses
    aligned_every: Positive = 1  # steps from one that keeps these losses to the next
    rehearsed_share: Share = 0.0  # of them that write the description again, where stage I came before
    # The connector's warm-up (a base whose connector is trained already has none)
    mixed_share: Share = 0.5  # share of warm-up steps on photos mixed from the patches of two
    # Share of the fine-tuned encoder's own answers in the targets that image tokens are drawn to; the rest are labels.
    encoder_answers: Share = 0.0
    anchor: bool = False  # keep the warm-up's losses in stage I
    instruct_anchor: Weight = 0.0  # weight of the warm-up's losses in stage II
    image_tokens: Count = 0  # per photo, where the connector is trained from the start; 0: the base's number
    # What the image tokens are drawn to; codes: random words, drawn by the seed and the category's name.
    words: WordSource = "attributes"
    encoder: EncoderStage | None = None
    encoder_file: str = ""  # a vision encoder that is fine-tuned already, in place of the stage
    start_file: str = ""  # connector and adapter of a finished stage, to go on from in place of the warm-up
    warmup: Stage | None = None
    align: Stage = Stage(photos=64)
    instruct: Stage = Stage(photos=128, photos_at_once=8)

    @model_validator(mode="after")
    def _check_combinations(self) -> "Recipe":
        if self.align.photos_at_once:
            raise ValueError("Stage I contrasts all photos of a step: leave align.photos_at_once out and set chunk.")
        if self.augmented and self.base != EMBEDDED:
            raise ValueError(f"Setting augmented is for the embedded base alone: leave it out for {self.base}.")
        if self.augmented and self.views:
            raise ValueError("Views are drawn at every step with augmented: leave views out.")
        if self.encoder_answers and not (self.augmented and (self.encoder or self.encoder_file)):
            raise ValueError("There are no answers of a fine-tuned vision encoder: leave encoder_answers out.")
        if self.encoder and self.encoder_file:
            raise ValueError("The vision encoder of encoder_file is fine-tuned already: leave encoder out.")
        if self.start_file and self.warmup:
            raise ValueError("The connector of start_file is trained already: leave warmup out.")
        if self.quantised and self.adapter.kind == "full":
            raise ValueError("4-bit weights cannot be trained themselves: choose a lora or dora adapter.")
        return self

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for logs and checkpoints."""
        return self.model_dump()

    @property
    def has_memory(self) -> bool:
        """Whether stage I has a memory bank of descriptions, which only the variant `full` uses."""
        return self.negatives_from_memory and self.variant == "full"

    def check_stage(self, name: str) -> None:
        """Raise `UserError` if there is no such stage in a run of this recipe."""
        names = [*(["encoder"] if self.encoder else []), *self.stages()]
        if name not in names:
            raise UserError(f"This recipe has no stage {name}: choose one of {', '.join(names)}.")

    @property
    def keeps_alignment(self) -> bool:
        """Whether stage II keeps the contrastive losses of the stage I before it."""
        return self.aligned_share > 0 and "align" in STAGES[self.variant]

    def stages(self) -> dict[str, Stage]:
        """Return the stages of this variant, in order."""
        named = {name: getattr(self, name) for name in STAGES[self.variant]}
        return {name: stage for name, stage in named.items() if stage is not None}

    def stage(self, name: str, photos: int) -> Stage:
        """Return the settings of one of the stages, with the number of its steps on that many photos."""
        own: Stage = getattr(self, name)
        longer = (self.variant, name) == ("finetune-longer", "instruct")
        return own.changed(steps=own.steps_for(photos) + (self.align.steps_for(photos) if longer else 0))


def presets() -> list[str]:
    """Return the names of the presets."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def read_preset(name: str, settings: Iterable[str] = (), **overrides: object) -> Recipe:
    """Read a preset (or a YAML file of that form), then replace single values.

    `settings` are written "align.steps=100", as on the command line; `overrides` are fields of `Recipe`, replaced last.
    Raises `UserError` for an unknown preset, and for a key or value that is not allowed.
    """
    path = Path(name) if name.endswith(".yaml") else PRESETS / f"{name}.yaml"
    if not path.is_file():
        raise UserError(f"There is no preset {name!r}: choose one of {', '.join(presets())}, or name a YAML file.")
    table = _validated(_read_table(path), f"{path.name}: ").as_dict()
    for setting in settings:
        _put(table, setting)
    return _validated({**table, **overrides}, "")


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a table in which a key stands twice, of which YAML would take the last one silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]  # type: ignore[no-untyped-call]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.YAMLError(f"{twice[0]!r} stands there twice")
        return super().construct_mapping(node, deep)


def _read_table(path: Path) -> dict[str, Any]:
    try:
        table = yaml.load(path.read_text(encoding="utf-8-sig"), _UniqueKeyLoader)  # noqa: S506, a SafeLoader
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"The preset {path} cannot be read as a text in UTF-8.") from error
    except (yaml.YAMLError, TypeError) as error:  # TypeError: a key that is itself a list or a table
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        what = getattr(error, "problem", None) or error
        raise UserError(f"{path}{where} is not a recipe in YAML: {what}.") from error
    if not isinstance(table, dict):
        raise UserError(f"{path} is not a recipe: it needs lines of the form `key: value`, as in {PRESETS}.")
    return table


def _put(table: dict[str, Any], setting: str) -> None:
    """Replace one value of a recipe's table by that of a setting such as "align.steps=100"."""
    key, equals, text = setting.partition("=")
    if not equals:
        raise UserError(f"{setting!r} is no setting: write it like align.steps=100.")
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = text
    *parents, last = key.strip().split(".")
    for parent in parents:
        inner = table.get(parent)
        table[parent] = table = dict(inner) if isinstance(inner, dict) else {}
    table[last] = value


def _validated(table: Mapping[str, Any], where: str) -> Recipe:
    try:
        return Recipe.model_validate(dict(table))
    except ValidationError as error:
        raise UserError(where + sentence(error, Recipe)) from error
