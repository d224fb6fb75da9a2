"""Run the steps: build the queries of each, and write its result from the answers.

Every super-category has a folder with super_category.yaml (discover), values.jsonl (extract) and descriptions.jsonl
(summarise) beside the journals of the answers.
"""

import logging
from collections import Counter
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from core.errors import UserError
from core.storage.files import write_atomically
from core.taxonomy.categories import SuperCategory, find_category, super_categories
from core.taxonomy.prompts import description_question
from train.attributes.answerers import RequestSettings, endpoint_answerer, zoo_answerer, zoo_version
from train.attributes.photo_files import (
    PhotoDescription,
    PhotoValues,
    in_template,
    known_values,
    read_lines,
    write_lines,
)
from train.attributes.probes import keep_supported, photo_features
from train.attributes.prompts import (
    FEWEST_ATTRIBUTES,
    MOST_ATTRIBUTES,
    NOT_VISIBLE,
    discovery_prompt,
    extraction_prompt,
    summary_prompt,
)
from train.attributes.runner import Answerer, Query, Run, estimate
from train.attributes.validation import (
    Discovery,
    read_description,
    read_json,
    read_values,
    response_format,
    spellings,
    values_model,
)
from train.data.records import Record

log = logging.getLogger(__name__)

ZOO = "zoo:"  # prefix of a model of the zoo, which runs in this process
KNOWLEDGE = "knowledge"  # instead of a model: the values of the knowledge tables
PROBES = "probes"  # instead of a model: those of them that probes find in the photo
TEMPLATE = "template"  # instead of a model: the values in a fixed wording

GROUP_FILE, VALUES_FILE, DESCRIPTIONS_FILE = "super_category.yaml", "values.jsonl", "descriptions.jsonl"


def find_group(folder: Path, name: str) -> SuperCategory:
    """Return the super-category of `super_category.yaml`, or else of the knowledge tables. Raises `UserError`."""
    path = folder / GROUP_FILE
    if not path.exists():
        if name in super_categories():
            return super_categories()[name]
        raise UserError(f"The attributes of {name!r} are not known: run `python -m train attributes discover` first.")
    try:
        table = yaml.safe_load(path.read_text(encoding="utf-8"))
        attributes = Discovery(attributes=table["attributes"]).attributes
        return SuperCategory(name, str(table["noun"]), str(table["rank"]), tuple(attributes))
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        wanted = f"noun, rank and {FEWEST_ATTRIBUTES} to {MOST_ATTRIBUTES} attributes"
        raise UserError(f"{path} does not hold {wanted}, as `discover` writes them: correct or delete it.") from error


def discover(
    folder: Path, name: str, noun: str, rank: str, model: str, request: RequestSettings, force: bool = False
) -> None:
    """Step 1: write the super-category with its attributes to `super_category.yaml`, which people may then edit."""
    path = folder / GROUP_FILE
    if path.exists() and not force:
        log.info("%s is there already: give --force to replace it", path)
        return
    read = partial(read_json, model=Discovery)
    query = Query({"super_category": name}, discovery_prompt(noun, rank), read, response_format(Discovery))
    run = Run("discover", model, folder)
    if _perform(run, [query], request, endpoint_answerer(model, request), output_tokens=100):
        attributes = run.answers[run.key(query)]["attributes"]
        write_atomically(path, _yaml({"super_category": name, "noun": noun, "rank": rank, "attributes": attributes}))
        log.info("%s: %s", path, ", ".join(attributes))


def extract(
    folder: Path,
    group: SuperCategory,
    records: list[Record],
    model: str,
    request: RequestSettings,
    encoder_file: Path | None = None,
) -> None:
    """Step 2: write every photo's attribute values to `values.jsonl`.

    `model` is a model of the endpoint, `zoo:NAME`, `knowledge` for the values of the knowledge tables, or `probes` for
    those that each photo supports by the vision features of `encoder_file` (None: of the embedded model). Raises
    `UserError` for an `encoder_file` that is not used.
    """
    if encoder_file and model != PROBES:
        raise UserError(f"--encoder-file is for --vlm-model {PROBES}: leave it out.")
    records = list({record.sha256: record for record in records}.values())
    if model in (KNOWLEDGE, PROBES):
        known = [known_values(record, group) for record in records]
        if model == PROBES and not request.dry_run:
            known = keep_supported(known, group, photo_features(records, encoder_file))
        _write_without_model(folder / VALUES_FILE, known, request)
        return
    source, version, prompt = endpoint_answerer(model, request), model, extraction_prompt(group)
    if model.startswith(ZOO):
        name = model.removeprefix(ZOO)
        source, version, prompt = zoo_answerer(name, group), zoo_version(name), description_question(group)
        request = replace(request, concurrency=1)  # one query uses all cores
    form = values_model(group)
    queries = [
        Query(
            {"sha256": record.sha256, "category": record.category},
            prompt,
            partial(read_values, model=form, names=spellings(record.category)),
            response_format(form),
            record.image,
        )
        for record in records
    ]
    run = Run("extract", version, folder)
    if _perform(run, queries, request, source, output_tokens=10 + 12 * len(group.attributes)):
        values = [PhotoValues(**query.subject, attributes=answer) for query in queries if (answer := run.answer(query))]
        write_lines(folder / VALUES_FILE, values)


def summarise(folder: Path, group: SuperCategory, model: str, request: RequestSettings) -> None:
    """Step 3: write every photo's description to `descriptions.jsonl`.

    `model` is a model of the endpoint, or `template` for the first wording of `core.taxonomy.descriptions.describe`.
    """
    photos = read_lines(folder / VALUES_FILE, PhotoValues)
    if model == TEMPLATE:
        _write_without_model(folder / DESCRIPTIONS_FILE, [in_template(photo, group) for photo in photos], request)
        return
    queries = [
        Query(
            {"sha256": photo.sha256, "category": photo.category},
            summary_prompt(group, photo.attributes),
            partial(read_description, names=spellings(photo.category)),
        )
        for photo in photos
    ]
    run = Run("summarise", model, folder)
    if _perform(run, queries, request, endpoint_answerer(model, request), output_tokens=150):
        described = [
            PhotoDescription(**photo.model_dump(), **answer)
            for photo, query in zip(photos, queries, strict=True)
            if (answer := run.answer(query))
        ]
        write_lines(folder / DESCRIPTIONS_FILE, described)


def write_table(folder: Path, group: SuperCategory, out: Path, force: bool = False) -> None:
    """Write the most frequent values of every category as a knowledge table in the form of `assets/attributes`.

    Ties go to the alphabetically first value; "not visible" is written only if there is no other value. Raises
    `UserError` if `out` exists (without `force`) or if the values belong to other attributes.
    """
    if out.exists() and not force:
        raise UserError(f"{out} exists already: give --force to replace it.")
    counts: dict[str, dict[str, Counter[str]]] = {}
    for photo in read_lines(folder / VALUES_FILE, PhotoValues):
        if set(photo.attributes) != set(group.attributes):
            raise UserError("The photos' values are of other attributes than the super-category's: run extract again.")
        counters = counts.setdefault(photo.category, {attribute: Counter() for attribute in group.attributes})
        for attribute, value in photo.attributes.items():
            counters[attribute][value] += value != NOT_VISIBLE
    categories: dict[str, dict[str, Any]] = {}
    for name, counters in sorted(counts.items()):
        values = {a: min(counter, key=lambda v: (-counter[v], v)) for a, counter in counters.items()}
        known = find_category(name)
        categories[name] = {"aliases": list(known.aliases)} if known and known.aliases else {}
        categories[name]["values"] = values
        if missing := [attribute for attribute, value in values.items() if value == NOT_VISIBLE]:
            log.warning("%s: no photo shows its %s: fill it in by hand", name, ", ".join(missing))
    header = {"super_category": group.name, "noun": group.noun, "rank": group.rank, "attributes": list(group.attributes)}
    write_atomically(out, _yaml({**header, "categories": categories}))
    log.info("%s: %d categories", out, len(categories))


def _perform(
    run: Run,
    queries: list[Query],
    request: RequestSettings,
    source: AbstractContextManager[Answerer],
    output_tokens: int,
) -> bool:
    """Print the estimate, answer the pending queries and return True; in a dry run print a prompt and return False."""
    pending = run.pending(queries)
    print(f"{run.step} with {run.model}: {estimate(pending, output_tokens, request.price_in, request.price_out)}")
    if request.dry_run:
        for query in pending[:1]:
            print(f"\nThe first prompt{f', with the photo {query.photo}' if query.photo else ''}:\n\n{query.prompt}")
        return False
    if pending:
        with source as answerer:
            run.perform(pending, answerer, request.concurrency)
    run.report(queries)
    return True


def _write_without_model(path: Path, lines: list[Any], request: RequestSettings) -> None:
    print(f"{path}: {len(lines)} photos, without a model")
    if not request.dry_run:
        write_lines(path, lines)


def _yaml(table: dict[str, Any]) -> bytes:
    return yaml.safe_dump(table, sort_keys=False, allow_unicode=True, width=121).encode()
