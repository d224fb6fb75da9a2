"""A model of the page, or an endpoint, in front of a photo."""

from core.errors import UserError
from core.evaluation.outcomes import SharedVisionEncoder
from core.evaluation.side_by_side import Side
from core.evaluation.sides import Remote, local_side
from core.models.openai_endpoint import Endpoint, EndpointSettings
from core.taxonomy.categories import in_super_category
from demo.components.models import ModelPool

ENDPOINT = "endpoint"  # the choice of an endpoint in place of a model
NO_ENDPOINT = (
    "No endpoint is set: give its address and its model under 'Endpoint', or set OPENAI_MODEL (and OPENAI_BASE_URL, "
    "OPENAI_API_KEY) before the app is started."
)


def open_side(
    models: ModelPool,
    name: str | None,
    group: str | None,
    encoder: SharedVisionEncoder,
    endpoint: EndpointSettings | None = None,
) -> Side:
    """Return a model in front of the photo of an encoder, loaded if need be; `group` is the kind of thing, if known.

    `ENDPOINT` is the given endpoint, else the environment's. Raises `UserError` if the model cannot be had.
    """
    if name is None:
        raise UserError("There is no model: choose one first.")
    if name != ENDPOINT:
        model, space = models.prepare(name, None, group)
        return local_side(model, space, encoder)
    settings = endpoint or EndpointSettings.from_environment()
    if settings is None:
        raise UserError(NO_ENDPOINT)
    return Remote(Endpoint(settings), encoder.photo, in_super_category(group)[0].super_category if group else None)
