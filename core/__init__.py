"""Name the species, breed or model in a photo, and describe its attributes.

>>> from core import load
>>> recogniser = load("finedefics-tiny")
>>> result = recogniser.identify("photo.jpg", super_category="cat", top=3)
>>> result.model, len(result.species)
('finedefics-tiny', 3)
>>> list(result.attributes)[:2]
['coat', 'pattern']

`identify` takes a path, the bytes of a file or a PIL image. It returns an `Identification`, whose `as_dict` is the JSON
of the command line. `crop` is the part that is identified: `(left, top, width, height)` as shares of the photo, or
"auto" to look for the object. Whatever a user can mend raises `UserError`, one sentence. Nothing heavy is imported
before a name of this package is used.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.errors import UserError
    from core.recognition.recogniser import Recogniser
    from core.recognition.results import Identification
    from core.zoo.registry import available_models, load

# Read when torch is imported: threads that spin while they wait make a loaded machine several times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # only a user makes it ask the hub: by 0, or by `core download`

__version__ = "0.1.0"

__all__ = ["Identification", "Recogniser", "UserError", "available_models", "load"]

_MODULES = {
    "Identification": "core.recognition.results",
    "Recogniser": "core.recognition.recogniser",
    "UserError": "core.errors",
    "available_models": "core.zoo.registry",
    "load": "core.zoo.registry",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import core` is instant."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
