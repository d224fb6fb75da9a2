"""What the command line does once its arguments are understood."""

import argparse
import io
import json
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path

from core.errors import UserError
from core.progress import Progress, run
from core.recognition.explanation import Explainer
from core.recognition.recogniser import UNKNOWN, Recogniser
from core.recognition.results import Explanation, Identification
from core.storage.files import write_atomically
from core.zoo.hub import UNCALIBRATED
from core.zoo.registry import availability, find_entry, load, zoo

log = logging.getLogger(__name__)

LOG_SECONDS = 5.0  # between two lines about the progress of a command


def models(_: argparse.Namespace) -> int:
    """Print every model of the zoo: name, size, and "ready" or why it is not available here and how to get it."""
    for entry in zoo().values():
        state = availability(entry)
        print(f"{entry.name:18} {entry.size:28} {state}")
        if entry.hub:
            indent = " " * 18
            print(f"{indent} licence: {entry.hub.licence}; memory: {entry.hub.needs}")
            if entry.hub.command not in state:
                print(f"{indent} to download it: {entry.hub.command}")
            print(f"{indent} {UNCALIBRATED}")
    return 0


def identify(options: argparse.Namespace) -> int:
    """Identify the photos one by one; a photo that cannot be used is reported and the next one is taken."""
    from core.data.images import read_photo

    _say_what_happens()
    try:
        labels = _read_labels(options.labels) if options.labels is not None else None
        recogniser = load(options.model, log.info)
        if find_entry(options.model).hub:
            print(f"{options.model}: {UNCALIBRATED}", file=sys.stderr)
        space = recogniser.label_space(labels, options.super_category)
        namer: Explainer | Recogniser = Explainer(recogniser) if options.explain else recogniser
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names need not be text
    failed = False
    for path in options.photos:
        try:
            photo = read_photo(Path(path))
        except UserError as error:
            failed = True
            print(error, file=sys.stderr)
            if options.json:
                print(json.dumps({"photo": path, "error": str(error)}), flush=True)
            continue
        if photo.note:
            print(f"{path}: {photo.note}", file=sys.stderr)
        result = namer.identify(photo.image, space, options.top)
        print(json.dumps(result.as_dict(path)) if options.json else _text(path, result), flush=True)
    return int(failed)


def study(options: argparse.Namespace) -> int:
    """Compare two models on a set of photos; what was done before Ctrl-C is saved as well."""
    from core.data.photo_sets import open_photo_set
    from core.evaluation.study import Study, check_models, choose_candidates, examine
    from core.evaluation.study_report import save

    _say_what_happens()
    try:
        names = check_models(options.models)
        with open_photo_set([Path(options.photos)]) as items:
            labels, group = choose_candidates(items, options.candidates)
            recognisers = map(load, names)
            pair = [(recogniser, recogniser.label_space(labels, group)) for recogniser in recognisers]
            result = Study(names, options.candidates, len(items))
            try:
                for row in examine(items, pair, options.ask):
                    result.rows.append(row)
                    print(f"{row.name}: {row.error}" if row.error else result.progress(), file=sys.stderr)
            except KeyboardInterrupt:
                print("Stopped.", file=sys.stderr)
        files = save(result, Path(options.out))
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    for line in result.accuracy():
        shares = ", ".join(f"{name} {right / line.photos:.1%}" for name, right in zip(names, line.right, strict=True))
        print(f"{line.data_set}: {shares} of {line.photos} photos")
    print("\n".join(map(str, files)))
    return int(any(row.error for row in result.rows))


def diagnose(options: argparse.Namespace) -> int:
    """Measure a model's three capabilities on labelled photos; print the table and its reading, or JSON."""
    from core.data.photo_sets import open_photo_set
    from core.evaluation.capabilities import diagnose as measure
    from core.models.checkpoint import merge_adapter

    _say_what_happens()
    try:
        with open_photo_set([Path(options.photos)], options.csv) as items:
            recogniser = load(options.model, log.info)
            merge_adapter(recogniser.mllm)  # half as long to wait
            diagnosis = run(measure(items, recogniser), lambda progress: print(progress.message, file=sys.stderr))
        text = json.dumps(diagnosis.as_dict(), indent=1, ensure_ascii=False)
        if options.out:
            write_atomically(Path(options.out), text.encode())
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 1
    print(text if options.json else diagnosis.as_text())
    return int(diagnosis.skipped > 0)


def embed(options: argparse.Namespace) -> int:
    """Embed a set of labelled photos, print how well photos and names lie together, and write the embeddings."""
    from core.data.photo_sets import open_photo_set
    from core.embeddings.bundled import bundle
    from core.embeddings.compute import compute_embeddings
    from core.embeddings.metrics import alignment_numbers

    _say_what_happens()
    try:
        files = [Path(options.out)] if options.out else []
        if files and files[0].suffix not in (".npz", ".parquet"):
            raise UserError(f"{options.out} must end in .npz or .parquet.")
        with open_photo_set([Path(options.photos)], options.csv) as items:
            name = Path(options.photos).resolve().name + (f", {options.csv}" if options.csv else "")
            space = run(compute_embeddings(options.model, items, name, load), _log_progress())
        for file in files:
            (space.save_parquet if file.suffix == ".parquet" else space.save)(file)
        if options.ship:
            bundle(space)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    numbers = {name: value if value is None else round(value, 4) for name, value in alignment_numbers(space).items()}
    print(json.dumps({"photos": len(space.photos), "categories": len(space.categories), **numbers}))
    return 0


def project(options: argparse.Namespace) -> int:
    """Lay out a file of embeddings in two or three dimensions, write the coordinates and print what the map is worth."""
    from core.embeddings.embedding_set import EmbeddingSet, coordinates_csv
    from core.embeddings.projection import ProjectionConfig
    from core.embeddings.projection import project as lay_out

    _say_what_happens()
    try:
        space = EmbeddingSet.load(Path(options.embeddings))
        points = space.vision_points if options.vision else space.points
        settings = ProjectionConfig(
            method=options.method,
            dimensions=options.dimensions,
            seed=options.seed,
            neighbours=options.neighbours,
            min_dist=options.min_dist,
            perplexity=options.perplexity,
        )
        made = run(lay_out(points.matrix, settings))
        write_atomically(Path(options.out), coordinates_csv([(space, points, made.coordinates)]).encode())
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    facts = {"method": made.method, "trustworthiness": made.trustworthiness, "seconds": round(made.seconds, 1)}
    print(json.dumps({"points": len(made.coordinates), **facts, "from_cache": made.cached, "note": made.note}))
    return 0


def _say_what_happens() -> None:
    logging.basicConfig(format="%(message)s")
    logging.getLogger("core").setLevel(logging.INFO)  # the first start assembles the model and says so


def _log_progress() -> Callable[[Progress], None]:
    """Return a function that logs progress at most every `LOG_SECONDS`."""
    logged = 0.0

    def on_progress(progress: Progress) -> None:
        nonlocal logged
        if time.monotonic() - logged >= LOG_SECONDS:
            logged = time.monotonic()
            log.info(progress.message)

    return on_progress


def _read_labels(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"The file of candidate names {path} cannot be read.") from error


def _text(path: str, result: Identification) -> str:
    lines = [path]
    if not result.known:
        lines.append(f"  {UNKNOWN}")
    lines += [f"  {species.probability:6.1%}  {species.name}" for species in result.species]
    lines.append(f"  Free answer: {result.answer}")
    lines += [f"  {attribute}: {value}" for attribute, value in result.attributes.items()]
    if result.explanation:
        lines += _reasons(result.explanation)
    lines.append("  " + ", ".join(f"{part} {seconds:.1f} s" for part, seconds in result.seconds.items()))
    return "\n".join(lines)


def _reasons(explanation: Explanation) -> list[str]:
    lines = [f"  {explanation.sentence}"]
    for evidence in explanation.evidence:
        lines.append(f"  {evidence.name}:")
        lines += [
            f"    {m.verdict:11} seen {m.seen:5.2f}  known {m.known:5.2f}  {m.attribute}: {m.value}"
            for m in evidence.marks
        ]
    return lines
