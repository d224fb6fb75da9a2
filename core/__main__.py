"""`python -m core identify|study|embed|project|diagnose|models`: photos and models, in a terminal.

Only argparse is imported here, so that --help is instant.
"""

import argparse
import sys


def main(arguments: list[str] | None = None) -> int:
    """Run one command; exit status 0, 1 if a photo or a model could not be used, 2 for wrong arguments."""
    parser = argparse.ArgumentParser(prog="python -m core", description="Name the species in photos, with attributes.")
    commands = parser.add_subparsers(dest="command", required=True)
    identify = commands.add_parser("identify", help="name what photos show")
    identify.add_argument("photos", nargs="+", metavar="PHOTO")
    identify.add_argument("--model", default="finedefics-tiny", help="a name that `models` lists")
    choice = identify.add_mutually_exclusive_group()
    choice.add_argument("--labels", metavar="FILE", help="candidate names, one per line")
    choice.add_argument("--super-category", metavar="S", help="bird, dog, cat, flower, car or aircraft")
    identify.add_argument("--top", type=int, default=5, metavar="K", help="how many names to show")
    identify.add_argument("--json", action="store_true", help="one JSON object per photo and line")
    identify.add_argument("--explain", action="store_true", help="say which attributes speak for the first name")
    study = commands.add_parser("study", help="compare two models on many photos")
    study.add_argument(
        "photos", metavar="PHOTOS", help="a ZIP or a folder, with a CSV of labels or class folders if any"
    )
    study.add_argument("--models", nargs=2, metavar=("A", "B"), default=["idefics2-tiny", "finedefics-tiny"])
    study.add_argument("--out", required=True, metavar="FOLDER", help="where study.csv, .json and .html go")
    study.add_argument("--candidates", default="all", metavar="C", help="all, labels, or a super-category")
    study.add_argument("--ask", action="store_true", help="have the models answer freely, too")
    diagnose = commands.add_parser("diagnose", help="measure a model's object information, knowledge and alignment")
    diagnose.add_argument("--json", action="store_true", help="print JSON instead of a table")
    diagnose.add_argument("--out", metavar="FILE", help="write the JSON there, too")
    embed = commands.add_parser("embed", help="photos, descriptions and names in a model's space: numbers, a file")
    embed.add_argument("--out", metavar="FILE", help="where the embeddings go: .npz or .parquet")
    embed.add_argument("--ship", action="store_true", help="put them into the checkpoint's folder, where the app looks")
    for command in (diagnose, embed):
        command.add_argument("photos", metavar="PHOTOS", help="a ZIP or a folder, labelled by a CSV or class folders")
        command.add_argument("--csv", default="", metavar="NAME", help="of the CSV files of a folder of data sets")
        command.add_argument("--model", default="finedefics-tiny", help="a name that `models` lists")
    project = commands.add_parser("project", help="lay out a file of embeddings in two or three dimensions: a CSV")
    project.add_argument("embeddings", metavar="FILE", help="an .npz of `embed`")
    project.add_argument("--out", required=True, metavar="CSV", help="where the coordinates go")
    project.add_argument("--method", default="tsne", metavar="M", help="tsne, umap or pca")
    project.add_argument("--dimensions", type=int, default=2, metavar="D", help="2 or 3")
    project.add_argument("--vision", action="store_true", help="the photos in the vision encoder's space")
    project.add_argument("--seed", type=int, default=0)
    project.add_argument("--perplexity", type=float, default=30.0, help="of t-SNE")
    project.add_argument("--neighbours", type=int, default=15, help="of UMAP")
    project.add_argument("--min-dist", type=float, default=0.1, help="of UMAP")
    commands.add_parser("models", help="list the models, and whether they can run here")
    options = parser.parse_args(arguments)
    if options.command == "identify" and options.top < 1:
        parser.error("--top must be at least 1")

    from core import commands as run

    return getattr(run, options.command)(options)


if __name__ == "__main__":
    sys.exit(main())
