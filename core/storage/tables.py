"""Read and check YAML files that people write by hand, with one sentence about the first mistake."""

from collections.abc import Hashable
from datetime import date
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import StringConstraints, TypeAdapter, ValidationError

from core.errors import UserError

Text = Annotated[str, StringConstraints(pattern=r"\S")]
T = TypeVar("T")


class _UniqueKeyLoader(yaml.SafeLoader):
    """PyYAML keeps the last of several equal keys; here they are an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Return the mapping of a node. Raises `ConstructorError` for a duplicate key."""
        keys: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in keys:
                problem = f"{key.value!r} is there twice: remove one"
                raise yaml.constructor.ConstructorError(problem=problem, problem_mark=key.start_mark)
            keys.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> object:
    """Return the content of a YAML file in UTF-8. Raises `UserError` if it cannot be read or has a duplicate key."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path.name} cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path.name}, line {line}: this is not UTF-8: save the file in UTF-8.") from error
    try:
        return yaml.load(text, _UniqueKeyLoader)  # noqa: S506 (a SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}" if mark else ""
        problem = error.problem or "this is not YAML"
        if "'\\t'" in problem:
            problem = "there is a tab: indent with spaces"
        raise UserError(f"{path.name}{where}: {problem}.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # unprintable characters, impossible dates
        raise UserError(f"{path.name} is not YAML: {' '.join(str(error).split())}.") from error


def check_table(path: Path, data: object, form: TypeAdapter[T]) -> T:
    """Return the data of a file in the given form. Raises `UserError` that says where the first mistake is."""
    try:
        return form.validate_python(data)
    except ValidationError as error:
        first, *others = error.errors(include_url=False)
        location = " > ".join(str(part) for part in first["loc"] if part != "[key]")
        more = f" There are {len(others)} more mistakes." if len(others) > 1 else ""
        raise UserError(f"{path.name}{f', {location}' if location else ''}: {_problem(first)}.{more}") from error


def read_table(path: Path, form: TypeAdapter[T]) -> T:
    """Return the content of a YAML file in the given form. Raises `UserError` for any mistake in it."""
    return check_table(path, read_yaml(path), form)


def _problem(error: Any) -> str:
    value = error["input"]
    if error["type"] == "missing":
        return "this is missing"
    if value is None:
        return "there is nothing here"
    if error["type"] == "string_type" and isinstance(value, bool | int | float | date):
        kind = "yes or no" if isinstance(value, bool) else "a date" if isinstance(value, date) else f"the number {value}"
        return f"YAML reads this as {kind}, not as text: put it in quotes"
    if error["type"] == "value_error":  # of a table's own validators
        return str(error["ctx"]["error"])
    if error["type"] == "list_type":
        return f"this must be a list: write [{value}]"
    if error["type"] == "string_pattern_mismatch":
        return "there is nothing here"
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return "there is no such field: remove it or correct its spelling"
    if error["type"] in ("dict_type", "model_type", "dataclass_type"):
        return "this must be a table of names and values (name: value)"
    message: str = error["msg"]
    return message[:1].lower() + message[1:]
