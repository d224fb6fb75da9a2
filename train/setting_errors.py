"""Say in one sentence what is wrong with the settings of a recipe."""

from typing import get_args

from pydantic import BaseModel, ValidationError

KINDS = {
    "int_type": "a whole number",
    "float_type": "a number (write it like 2.0e-4)",
    "bool_type": "true or false",
    "string_type": "a text",
    "model_type": "a table of settings",
}


def sentence(error: ValidationError, model: type[BaseModel]) -> str:
    """Return one sentence about the first error in the settings of a model: its key, and the allowed values."""
    first = error.errors(include_url=False)[0]
    key, value, limits = ".".join(map(str, first["loc"])), first["input"], first.get("ctx", {})
    match first["type"]:
        case "value_error":  # of the model's own validators
            return str(limits["error"])
        case "missing":
            return f"{key} is missing."
        case "extra_forbidden" | "invalid_key":
            return f"{key} is not a setting: choose one of {', '.join(_known(model, first['loc'][:-1]))}."
        case "literal_error":
            return f"{key} is {value!r}: choose one of {limits['expected'].replace(' or ', ', ')}."
        case "greater_than_equal":
            return f"{key} is {value}: it cannot be less than {limits['ge']:g}."
        case "less_than_equal" | "less_than":
            most = f"more than {limits['le']:g}" if "le" in limits else f"{limits['lt']:g} or more"
            return f"{key} is {value}: it cannot be {most}."
        case kind if kind in KINDS:
            return f"{key} is {value!r}, not {KINDS[kind]}."
    return f"{key} is {value!r}: {first['msg'][0].lower()}{first['msg'][1:]}."


def _known(model: type[BaseModel], parents: tuple[int | str, ...]) -> list[str]:
    """Return the keys that the table of a model, or the table of one of its keys, may have."""
    for parent in parents:
        kind = model.model_fields[str(parent)].annotation
        model = next(part for part in (kind, *get_args(kind)) if isinstance(part, type) and issubclass(part, BaseModel))
    return list(model.model_fields)
