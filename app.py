"""Open the page: `python app.py [--host 127.0.0.1] [--port 7860] [--photos FOLDER]`."""

import argparse
import os
import sys
from pathlib import Path


def main() -> None:
    """Parse the flags, build the page, launch."""
    parser = argparse.ArgumentParser(description="Name the species in a photo, with its attributes.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument(
        "--photos", type=Path, metavar="FOLDER", help="where the photos of the shipped embeddings are, to show them"
    )
    options = parser.parse_args()
    if options.photos is not None and not options.photos.is_dir():
        parser.error(f"there is no folder {options.photos}")
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")

    from core.errors import UserError
    from core.models.embedded import ensure_base
    from demo.page import build, launch

    try:
        ensure_base(print)
    except UserError as error:
        print(error, file=sys.stderr)  # the page says so too
    try:
        launch(build(photos=options.photos), options.host, options.port)
    except OSError as error:
        sys.exit(f"The page cannot be served on {options.host}:{options.port}: {error}")


if __name__ == "__main__":
    main()
