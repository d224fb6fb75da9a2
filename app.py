"""Open the page: `python app.py [--host 127.0.0.1] [--port 7860] [--photos FOLDER]`, and more: see `--help`."""

import argparse
import os
import socket
import sys
from importlib.util import find_spec
from pathlib import Path

from core.console import exits_quietly
from core.errors import UserError
from core.loopback import is_loopback


@exits_quietly
def main(arguments: list[str] | None = None) -> int:
    """Parse the options, build the page, serve it. Modules that take seconds to import are imported after the checks."""
    parser = argparse.ArgumentParser(description="Name the species in a photo, with its attributes.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=_port, default=7860)
    parser.add_argument(
        "--photos", type=Path, metavar="FOLDER", help="photos to show: those of the bundled embeddings, or of FOCI"
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=Path("results"),
        metavar="FOLDER",
        help="where `train evaluate --foci` kept its results, for the leaderboard",
    )
    parser.add_argument(
        "--allow-downloads",
        action="store_true",
        help="a button that downloads models of the table; on a loopback host only",
    )
    parser.add_argument(
        "--mcp",
        action="store_true",
        help="the endpoints as tools of an MCP server, too; on a loopback host only, with the package mcp",
    )
    options = parser.parse_args(arguments)
    if options.photos is not None and not options.photos.is_dir():
        parser.error(f"there is no folder {options.photos}")
    if options.allow_downloads and not is_loopback(options.host):
        raise UserError(f"--allow-downloads is for a page of this machine alone: leave out --host {options.host}.")
    if options.mcp:
        _check_mcp(options.host)
    _check_address(options.host, options.port)
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

    from core.models.embedded import ensure_base
    from demo.page import build, launch

    try:
        ensure_base(print)
    except UserError as error:
        print(error, file=sys.stderr)  # the page shows it as well
    try:
        page = build(photos=options.photos, results=options.results, downloads=options.allow_downloads)
        launch(page, options.host, options.port, mcp=options.mcp)
    except OSError as error:
        raise UserError(f"The page cannot be served on {options.host}:{options.port}: {error}") from error
    return 0


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError("must be a whole number from 1 to 65535")
    return int(text)


def _check_mcp(host: str) -> None:
    """Raise `UserError` if there can be no MCP server on a host, or the package for it is not there."""
    if not is_loopback(host):
        raise UserError(f"--mcp is for a page of this machine alone: leave out --host {host}.")
    if find_spec("mcp") is None:
        raise UserError("--mcp needs the package mcp: run `.venv/bin/pip install -r requirements-mcp.txt`.")


def _check_address(host: str, port: int) -> None:
    """Raise `UserError` if nothing can be served on a host and port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "no such host"
        raise UserError(
            f"The page cannot be served on {host}:{port} ({reason}): choose another --host or --port."
        ) from error


if __name__ == "__main__":
    sys.exit(main())
