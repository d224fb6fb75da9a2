"""What a user asks the Alignment tab to show, and the steps from there to a `MapView`."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from core.data.photo_sets import open_photo_set
from core.embeddings.bundled import bundled_embeddings
from core.embeddings.compute import compute_embeddings
from core.embeddings.embedding_set import EmbeddingSet
from core.embeddings.projection import ProjectionConfig
from core.errors import UserError
from core.progress import Progress, part
from demo.alignment.figure import COLOUR_BY
from demo.alignment.photos import Uploads
from demo.alignment.view_model import METHOD_NAMES, MapView, project_all
from demo.components.models import ModelPool
from demo.components.photo_folder import Folder
from demo.components.uploads import uploaded

BUNDLED, UPLOADED, STUDIED = "those that come with the model", "uploaded here", "those of the Case study tab"
ONE, SIDE_BY_SIDE, BEFORE_AFTER = "one model", "side by side", "before and after"
OWN, VISION = "the model's own", "the vision encoder's"
CHOICES = {  # by the name of the field
    "photos": (BUNDLED, UPLOADED, STUDIED),
    "view": (ONE, SIDE_BY_SIDE, BEFORE_AFTER),
    "space": (OWN, VISION),
    "colour_by": COLOUR_BY,
}
MAX_MODELS = 3


@dataclass(frozen=True, kw_only=True)
class MapRequest:
    """The values of the page's inputs. Raises `UserError` for choices that the page does not offer."""

    photos: str
    view: str
    model: str | None
    after: str | None
    models: list[str] | None
    space: str
    method: str
    dimensions: int
    seed: float | None
    perplexity: float | None
    neighbours: float | None
    min_dist: float | None
    colour_by: str

    def __post_init__(self) -> None:
        if any(getattr(self, field) not in choices for field, choices in CHOICES.items()):
            raise UserError("That cannot be chosen: load the page again.")

    def model_names(self) -> list[str]:
        """Return the models asked for, in order. Raises `UserError` if there are too few, too many or equal ones."""
        selected: dict[str, list[str | None]] = {
            ONE: [self.model],
            BEFORE_AFTER: [self.model, self.after],
            SIDE_BY_SIDE: [*(self.models or [])],
        }
        names = [name for name in selected[self.view] if name]
        fewest = 1 if self.view == ONE else 2
        if not fewest <= len(set(names)) == len(names) <= MAX_MODELS:
            raise UserError("Choose a model." if self.view == ONE else "Choose two or three different models.")
        return names

    def projection_config(self) -> ProjectionConfig:
        """Return the settings of the map. Raises `UserError` for values that no map can be made with."""
        if self.method not in METHOD_NAMES or None in (self.seed, self.perplexity, self.neighbours, self.min_dist):
            raise UserError("A setting of the map is missing.")
        return ProjectionConfig(
            method=METHOD_NAMES[self.method],
            dimensions=int(self.dimensions),
            seed=int(self.seed or 0),
            perplexity=float(self.perplexity or 0),
            neighbours=int(self.neighbours or 0),
            min_dist=float(self.min_dist or 0),
        )


def photo_source(request: MapRequest, uploads: Sequence[dict] | None, studied: Sequence[dict] | None) -> Uploads | None:
    """Return where the photos are; `None` for those that come with the model. Raises `UserError` if there are none."""
    if request.photos == BUNDLED:
        return None
    selected = uploads if request.photos == UPLOADED else studied
    if not selected:
        where = "here" if request.photos == UPLOADED else "on the Case study tab"
        raise UserError(f"There are no photos: choose some {where} first.")
    return Uploads(tuple(uploaded(upload) for upload in selected))


def embedding_sets(
    request: MapRequest, source: Uploads | None, models: ModelPool
) -> Generator[Progress, None, list[EmbeddingSet]]:
    """Return the embeddings by each of the models. Raises `UserError` if there are none or a photo cannot be used."""
    names = request.model_names()
    if source is None:
        return [bundled_embeddings(name) for name in names]
    found = []
    with open_photo_set(source.paths) as photos:
        for number, name in enumerate(names):
            start, end = number / len(names), (number + 1) / len(names)
            yield Progress(start, f"{name}: reading {len(photos)} photos ...")
            steps = compute_embeddings(name, photos, request.photos, lambda model: models.prepare(model, None, None)[0])
            found.append((yield from part(steps, start, end, f"{name}: ")))
    return found


def build_view(
    request: MapRequest, source: Uploads | None, owned: Folder | None, models: ModelPool
) -> Generator[Progress, None, MapView]:
    """Return the view that was asked for, without thumbnails. Photos are in `source`, bundled ones in `owned`.

    Raises `UserError` if the request cannot be fulfilled.
    """
    config = request.projection_config()
    sets = yield from embedding_sets(request, source, models)
    shows_vision = request.space == VISION
    maps = yield from project_all(sets, config, shows_vision)
    return MapView(
        maps,
        shows_vision=shows_vision,
        is_animated=request.view == BEFORE_AFTER,
        source=source or owned,
        colour_by=request.colour_by,
    )
