"""What somebody asks the Alignment tab to show, and the way from there to the maps."""

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
from demo.alignment.photos import Folder, Uploads, thumbnails
from demo.alignment.view_model import METHOD_NAMES, MapView, project_all
from demo.components.models import ModelPool
from demo.components.uploads import uploaded

SHIPPED, UPLOADED, STUDIED = "those that come with the model", "uploaded here", "those of the Case study tab"
ONE, SIDE_BY_SIDE, BEFORE_AFTER = "one model", "side by side", "before and after"
OWN, VISION = "the model's own", "the vision encoder's"
CHOICES = {  # by the first of each
    SHIPPED: (SHIPPED, UPLOADED, STUDIED),
    ONE: (ONE, SIDE_BY_SIDE, BEFORE_AFTER),
    OWN: (OWN, VISION),
    COLOUR_BY[0]: COLOUR_BY,
}


@dataclass(frozen=True)
class MapRequest:
    """What somebody asks to see, as the page's inputs say it, in their order."""

    photos: str
    view: str
    model: str | None
    after: str | None
    models: list[str] | None
    space: str
    method: str
    dimensions: int
    seed: float | None
    perplexity: float
    neighbours: float
    min_dist: float
    colour: str

    def __post_init__(self) -> None:
        known = {SHIPPED: self.photos, ONE: self.view, OWN: self.space, COLOUR_BY[0]: self.colour}
        if any(value not in CHOICES[first] for first, value in known.items()):
            raise UserError("That cannot be chosen: load the page again.")

    def names(self) -> list[str]:
        """The models asked for, in order. Raises `UserError` where some are missing."""
        wanted: dict[str, list[str | None]] = {
            ONE: [self.model],
            BEFORE_AFTER: [self.model, self.after],
            SIDE_BY_SIDE: [*(self.models or [])],
        }
        names = [name for name in wanted[self.view] if name]
        fewest = 1 if self.view == ONE else 2
        if len(names) < fewest or len(set(names)) < len(names) or len(names) > 3:
            raise UserError("Choose a model." if self.view == ONE else "Choose two or three different models.")
        return names

    def projector(self) -> ProjectionConfig:
        """The settings of the map. Raises `UserError` for values that no map can be made with."""
        if self.method not in METHOD_NAMES or None in (self.seed, self.perplexity, self.neighbours, self.min_dist):
            raise UserError("A setting of the map is missing.")
        return ProjectionConfig(
            method=METHOD_NAMES[self.method],
            dimensions=int(self.dimensions),
            seed=int(self.seed or 0),
            perplexity=float(self.perplexity),
            neighbours=int(self.neighbours),
            min_dist=float(self.min_dist),
        )


def spaces(wish: MapRequest, source: Uploads | None, models: ModelPool) -> Generator[Progress, None, list[EmbeddingSet]]:
    """Return the embeddings of the models asked for.

    Raises `UserError` if there are none, or the photos cannot be used.
    """
    names = wish.names()
    if source is None:
        return [bundled_embeddings(name) for name in names]
    found = []
    with open_photo_set(source.paths) as items:
        for name in names:
            yield Progress(0.0, f"{name}: reading {len(items)} photos ...")
            steps = compute_embeddings(name, items, wish.photos, lambda model: models.prepare(model, None, None)[0])
            found.append((yield from part(steps, 0, 1, f"{name}: ")))
    return found


def source_of(wish: MapRequest, uploads: Sequence[dict] | None, studied: Sequence[dict] | None) -> Uploads | None:
    """Where the photos are; `None` for those that come with the model. Raises `UserError` where there are none."""
    if wish.photos == SHIPPED:
        return None
    given = uploads if wish.photos == UPLOADED else studied
    if not given:
        where = "here" if wish.photos == UPLOADED else "on the Case study tab"
        raise UserError(f"There are no photos: choose some {where} first.")
    return Uploads(tuple(uploaded(upload) for upload in given))


def build_view(
    wish: MapRequest, source: Uploads | None, owned: Folder | None, models: ModelPool
) -> Generator[Progress | MapView]:
    """The progress, then what is to be shown; once more with thumbnails, where these take a while."""
    found = yield from spaces(wish, source, models)
    maps = yield from project_all(found, wish.projector(), wish.space == VISION)
    at_hand = source or owned
    shown = MapView(maps, wish.space == VISION, wish.view == BEFORE_AFTER, at_hand, by=wish.colour)
    yield shown
    if at_hand is not None:
        shown.thumbnails = thumbnails(found[0], at_hand)
        yield shown
