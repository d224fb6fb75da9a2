"""`python -m core project`: a map of embeddings."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from core.console import checking_arguments

if TYPE_CHECKING:
    from core.cli.arguments import Commands


def add_command(commands: "Commands") -> None:
    """Add the command to the parser of `python -m core`."""
    command = commands.add_parser("project", help="project embeddings to two or three dimensions: a CSV")
    command.add_argument("embeddings", metavar="FILE", help="an .npz of `embed`")
    command.add_argument("--out", required=True, metavar="CSV", help="where the coordinates go")
    command.add_argument("--method", default="tsne", choices=("tsne", "umap", "pca"))
    command.add_argument("--dimensions", type=int, default=2, choices=(2, 3))
    command.add_argument("--vision", action="store_true", help="the photos in the vision encoder's space")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--perplexity", type=float, default=30.0, help="of t-SNE")
    command.add_argument("--neighbours", type=int, default=15, help="of UMAP")
    command.add_argument("--min-dist", type=float, default=0.1, help="of UMAP")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Project a file of embeddings, write the coordinates, and print how trustworthy the map is."""
    from core.embeddings.embedding_set import EmbeddingSet, coordinates_csv
    from core.embeddings.projection import ProjectionConfig
    from core.embeddings.projection import project as compute
    from core.errors import UserError
    from core.progress import run as complete
    from core.storage.files import check_writable_file, write_atomically

    source, out = Path(options.embeddings), Path(options.out)
    with checking_arguments():
        check_writable_file(out)
        if out.resolve() == source.resolve():
            raise UserError(f"{out} would replace the embeddings: name another file with --out.")
        settings = ProjectionConfig(
            method=options.method,
            dimensions=options.dimensions,
            seed=options.seed,
            neighbours=options.neighbours,
            min_dist=options.min_dist,
            perplexity=options.perplexity,
        )
    space = EmbeddingSet.load(source)
    points = space.vision_points if options.vision else space.points
    made = complete(compute(points.matrix, settings))
    write_atomically(out, coordinates_csv([(space, points, made.coordinates)]).encode())
    facts = {"method": made.method, "trustworthiness": made.trustworthiness, "seconds": round(made.seconds, 1)}
    print(json.dumps({"points": len(made.coordinates), **facts, "from_cache": made.cached, "note": made.note}))
    return 0
