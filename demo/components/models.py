"""The models of the page: which can be chosen, and the pool of those that are loaded."""

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock

from core.recognition.asked_model import AskedModel
from core.recognition.explanation import Explainer
from core.recognition.label_space import LabelSpace, Names
from core.recognition.recogniser import Recogniser
from core.zoo.registry import DEFAULT, load_listed

EXAMPLES = Path(__file__).parents[2] / "assets" / "examples"
AUTO = "auto"  # the choice of no particular kind of thing


class ModelPool:
    """Loaded models by name; each is loaded once, when it is first asked for."""

    def __init__(self) -> None:
        self._loaded: dict[str, Recogniser | AskedModel] = {}
        self._explainers: dict[str, Explainer] = {}
        self._lock = Lock()

    def __contains__(self, name: str) -> bool:
        return name in self._loaded

    def prepare(
        self,
        name: str,
        labels: list[str] | None,
        super_category: str | None,
        progress: Callable[[str], None] = lambda _: None,
    ) -> tuple[Recogniser, LabelSpace] | tuple[AskedModel, Names]:
        """Return the model, loaded if need be (`progress` as for `core.zoo.registry.load_listed`), and its label space.

        One call at a time: neither can be interrupted, and a user who pressed Stop may have started again already.
        Raises `UserError` if the model cannot be loaded or the names cannot be used.
        """
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = load_listed(name, progress)
            model = self._loaded[name]
            if isinstance(model, AskedModel):
                return model, model.label_space(labels, super_category)
            return model, model.label_space(labels, super_category)

    def explainer(self, recogniser: Recogniser) -> Explainer:
        """Return the `Explainer` of a loaded model: one per model, since it caches the phrases it has embedded."""
        with self._lock:
            if recogniser.name not in self._explainers:
                self._explainers[recogniser.name] = Explainer(recogniser)
            return self._explainers[recogniser.name]


def example_photos() -> list[str]:
    """Return the paths of the example photos: those of `assets/examples`, and a flower that comes with scikit-learn."""
    spec = importlib.util.find_spec("sklearn")
    flower = Path(spec.origin).parent / "datasets/images/flower.jpg" if spec and spec.origin else None
    return [str(path) for path in (*sorted(EXAMPLES.glob("*.jpg")), flower) if path and path.is_file()]


def default_choice(ready: Sequence[str]) -> str | None:
    """Return the model that is selected when a page opens: the default one, or none where it is not ready."""
    return DEFAULT if DEFAULT in ready else None
