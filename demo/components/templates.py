"""HTML of the page: Jinja2 templates in `demo/templates`, every value escaped."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

FOLDER = Path(__file__).parents[1] / "templates"
_ENVIRONMENT = Environment(
    loader=FileSystemLoader(FOLDER),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(template: str, **values: object) -> str:
    """Return the HTML of a template, e.g. "explanation.html".

    Values are escaped unless they are `markupsafe.Markup`; a value that the template uses and nobody gave is an error.
    """
    return _ENVIRONMENT.get_template(template).render(values)
