"""Compute the losses of the vision encoder's fine-tuning: its categories, and its own former ImageNet answers."""

import copy
import logging
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.models.efficientnet import FEATURES
from core.models.installed_weights import imagenet_classifier
from core.models.vision_encoder import Encoder, encoder_input
from core.models.vlm import VisionLanguageModel
from train.data.augmentation import Augmentation, cutmix, mixup, plain_view
from train.data.batch import Batch
from train.data.training_set import TrainingSet
from train.recipe import EncoderStage, Recipe

log = logging.getLogger(__name__)

PROBE_STEPS, PROBE_PHOTOS, PROBE_LR = 400, 1024, 3e-3  # of the classifier on the pretrained encoder
DROPOUT = 0.25  # of the features that the classifier sees
MIXED_PART = 0.9  # of the steps may mix photos: the last ones train on photos as they are
PHOTOS_AT_ONCE = 256  # without gradients


class EncoderModel(nn.Module):
    """The embedded vision encoder with a classifier of the training categories.

    `forward` returns the named losses of a batch, whose sum is minimised: the cross-entropy of the categories, and that
    of the pretrained encoder's ImageNet answers about the same views (learning without forgetting, Li & Hoiem 2016).
    `average` is the moving average of the weights, which is used afterwards.
    """

    stage = "encoder"

    def __init__(self, mllm: VisionLanguageModel, data: TrainingSet, recipe: Recipe) -> None:
        super().__init__()
        assert recipe.encoder is not None
        self.mllm, self.data, self.recipe, self.settings = mllm, data, recipe, recipe.encoder
        self.steps = self.settings.steps_for(len(data.records))
        pretrained = mllm.model.model.vision_model
        self._pretrained = [pretrained]  # in a list: not a part of this module
        self.imagenet = {name: tensor.to(mllm.device) for name, tensor in imagenet_classifier().items()}
        self.tower = copy.deepcopy(pretrained).to(memory_format=torch.channels_last)
        self.classifier = nn.Linear(FEATURES, len(data.categories)).to(mllm.device)
        self.average = nn.ModuleDict({"tower": copy.deepcopy(self.tower), "classifier": copy.deepcopy(self.classifier)})
        self.same_group = _same_group(data).to(mllm.device)  # [C, C] rows sum to 1
        self._set_trainable(self.settings)

    def _set_trainable(self, settings: EncoderStage) -> None:
        self.requires_grad_(False)
        for module in (*self.tower.network._blocks[settings.frozen_blocks :], *self._last(), self.classifier):
            module.requires_grad_(True)

    def _last(self) -> list[nn.Module]:
        return [self.tower.network._conv_head, self.tower.network._bn1]

    def parameter_groups(self) -> Iterator[tuple[list[nn.Parameter], float]]:
        """Yield the trained parameters of each layer with their learning rate."""
        settings, blocks = self.settings, self.tower.network._blocks
        yield list(self.classifier.parameters()), 3 * settings.lr
        for module in self._last():
            yield list(module.parameters()), settings.lr
        for i in range(settings.frozen_blocks, len(blocks)):
            yield list(blocks[i].parameters()), settings.lr * settings.layer_decay ** (len(blocks) - i)

    def saved_tensors(self) -> dict[str, Tensor]:
        """Return everything that changes in training, by name."""
        return dict(self.state_dict())

    def train(self, mode: bool = True) -> "EncoderModel":
        """Set training mode for everything except the frozen first blocks and the average."""
        super().train(mode)
        network = self.tower.network
        for module in (network._conv_stem, network._bn0, *network._blocks[: self.settings.frozen_blocks], self.average):
            module.eval()
        return self

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the named losses of a batch of decoded photos."""
        settings, part = self.settings, batch.step / self.steps
        size = settings.sizes[min(int(part * len(settings.sizes)), len(settings.sizes) - 1)]
        views = Augmentation(settings.least_area)(batch.states, size)
        smoothing = settings.label_smoothing
        targets = (1 - smoothing) * F.one_hot(batch.categories, len(self.data.categories)).float()
        targets = targets + smoothing * self.same_group[batch.categories]
        drawn = torch.rand(()).item() if part < MIXED_PART else 1.0
        if drawn < settings.cutmix_share:
            views, targets = cutmix(views, targets)
        elif drawn < settings.cutmix_share + settings.mixup_share:
            views, targets = mixup(views, targets)
        inputs = encoder_input(self.mllm, views)
        features = pooled(self.tower, inputs)
        logits = self.classifier(F.dropout(features, DROPOUT, self.training)).float()
        losses = {"classification": F.cross_entropy(logits, targets)}
        if settings.distillation:
            with torch.no_grad():
                former = self._imagenet(pooled(self._pretrained[0], inputs)).softmax(dim=-1)
            losses["distillation"] = settings.distillation * F.cross_entropy(self._imagenet(features), former)
        return losses

    def _imagenet(self, features: Tensor) -> Tensor:
        """Return the logits [B, 1000] float32 of the frozen ImageNet classifier."""
        return F.linear(features, self.imagenet["weight"], self.imagenet["bias"]).float()

    @torch.no_grad()
    def update_average(self, step: int) -> None:
        """Move the average towards the weights after a step; its first steps count more."""
        decay = min(self.settings.average, (1 + step) / (10 + step))
        means, values = [], []
        for name, module in (("tower", self.tower), ("classifier", self.classifier)):
            for mean, value in zip(self.average[name].state_dict().values(), module.state_dict().values(), strict=True):
                if value.is_floating_point():
                    means.append(mean)
                    values.append(value)
        torch._foreach_lerp_(means, values, 1 - decay)

    # Before and after training ------------------------------------------------------------------------------------

    def initialise_classifier(self) -> None:
        """Fit the classifier to the pretrained encoder, whose features then change no more than they need to."""
        features = self._features(self._pretrained[0], self.data, range(len(self.data.records)))
        categories = torch.tensor(self.data.category_of, device=features.device)
        torch.manual_seed(self.recipe.seed)
        nn.init.zeros_(self.classifier.bias)
        nn.init.normal_(self.classifier.weight, std=0.01)
        optimizer = torch.optim.AdamW(self.classifier.parameters(), lr=PROBE_LR)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, PROBE_STEPS)
        with torch.enable_grad():
            for _ in range(PROBE_STEPS):
                rows = torch.randint(len(features), (min(PROBE_PHOTOS, len(features)),)).to(features.device)
                logits = self.classifier(F.dropout(features[rows], DROPOUT))
                loss = F.cross_entropy(logits, categories[rows], label_smoothing=self.settings.label_smoothing)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
        log.info("encoder: the classifier on the pretrained encoder ends at a loss of %.3f", loss.item())
        self.average["classifier"].load_state_dict(self.classifier.state_dict())

    def finished(self, held_out: TrainingSet) -> Encoder:
        """Return the trained encoder: the average, mixed with the pretrained weights as suits the held-out photos."""
        truths = torch.tensor(held_out.category_of, dtype=torch.long)
        accuracies = {}
        for share in self.settings.kept_shares:
            features = self._features(self._mixed(share), held_out, range(len(truths)))
            accuracies[share] = self._accuracy(features, truths.to(features.device), held_out)
            log.info("encoder: %.2f of the tuned weights: %.2f %% of held-out photos right", share, accuracies[share])
        best = max(accuracies, key=accuracies.__getitem__) if len(truths) else self.settings.kept_shares[0]
        tower = self._mixed(best)
        features = F.normalize(self._features(tower, self.data, range(len(self.data.records))), dim=-1)
        means = torch.stack([features[rows].mean(0) for rows in self.data.members])
        facts = {
            "size": self.settings.size,
            "categories": [category.name for category in self.data.categories],
            "tuned_share": best,
            "held_out_photos": len(truths),
            "held_out_accuracy": {str(share): round(value, 2) for share, value in accuracies.items()},
            "steps": self.steps,
        }
        network = tower.get_submodule("network").state_dict()
        classifier = {k: v.float() for k, v in self.average["classifier"].state_dict().items()}
        return Encoder(network, classifier, F.normalize(means, dim=-1), facts)

    @torch.no_grad()
    def _mixed(self, share: float) -> nn.Module:
        """Return the average with `share` of its weights, the rest pretrained (Wortsman et al. 2022)."""
        tower = copy.deepcopy(self.average["tower"]).eval()
        own = self._pretrained[0].state_dict()
        for name, value in tower.state_dict().items():
            if value.is_floating_point():
                value.copy_(share * value + (1 - share) * own[name].to(value.dtype))
        return tower

    @torch.no_grad()
    def _features(self, tower: nn.Module, data: TrainingSet, rows: range) -> Tensor:
        """Return the pooled features [N, D] float32 of whole photos, in the size in use."""
        device, parts = self.mllm.device, []
        for start in range(0, len(rows), PHOTOS_AT_ONCE):
            assert data.photos is not None
            part = list(rows[start : start + PHOTOS_AT_ONCE])
            views = plain_view(data.photos.get(part).to(device), self.settings.size)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                parts.append(pooled(tower, encoder_input(self.mllm, views)))
        return torch.cat(parts) if parts else torch.zeros(0, FEATURES, device=device)

    def _accuracy(self, features: Tensor, truths: Tensor, data: TrainingSet) -> float:
        """Return how many photos are right within their super-category, in per cent: the mean over data sets."""
        logits = self.average["classifier"](features).masked_fill(self.same_group[truths] == 0, -torch.inf)
        right = (logits.argmax(dim=-1) == truths).float().cpu()
        by_set: dict[str, list[float]] = {}
        for record, value in zip(data.records, right.tolist(), strict=True):
            by_set.setdefault(record.data_set, []).append(value)
        log.info("encoder: held out: %s", {k: round(100 * sum(v) / len(v), 1) for k, v in sorted(by_set.items())})
        return 100 * sum(sum(values) / len(values) for values in by_set.values()) / max(1, len(by_set))


def pooled(tower: nn.Module, inputs: Tensor) -> Tensor:
    """Return the mean [B, D] float32 of a vision encoder's patches."""
    states: Tensor = tower(pixel_values=inputs).last_hidden_state
    return states.float().mean(dim=1)


def _same_group(data: TrainingSet) -> Tensor:
    """Return [C, C]: in each row, equal shares of the categories of the same super-category."""
    groups = [category.super_category.name for category in data.categories]
    same = torch.tensor([[float(one == other) for other in groups] for one in groups])
    return same / same.sum(dim=1, keepdim=True)
