"""Paths that a configuration names: `~` is a home folder, a variable is refused, braces are no wildcards."""

import os
import re
from pathlib import Path

from adapter_build.core.faults import BadInput

# What steers a terminal or turns the direction of writing, too: Snakemake prints names as they are.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_VARIABLE = re.compile(r"\$(?:\{|[A-Za-z_])")
_BRACES = re.compile(r"[{}<>]")  # Snakemake looks for wildcards and path variables in what an input is named


def expanded(key: str, path: str) -> str:
    """Return a path with the home folder in place of a leading `~` or `~user`; an empty one stays.

    Raises `BadInput` naming the key where the name holds a control character, the user is unknown, or a variable would
    become a folder's name.
    """
    if CONTROL.search(path):
        raise BadInput(f"{key}: {path!r}: has a line break or another control character: rename the file")
    if path == "~":
        raise BadInput(
            f"{key}: ~ alone is YAML's word for nothing: write ~/ for the home folder, or null for the default"
        )
    if path.startswith("~") and path == (path := os.path.expanduser(path)):  # noqa: PTH111 - that raises RuntimeError
        raise BadInput(f"{key}: {path}: no such user: write ~/ for your own home folder, or ./~ for a file's name")
    if _VARIABLE.search(path) and not Path(path).exists():
        raise BadInput(f"{key}: {path}: no such file, and variables are not expanded here: write ~/ or the path itself")
    return str(Path.cwd() / path) if path.startswith("-") else path  # never an option of a command line


def expanded_url(key: str, url: str) -> str:
    """Return a URL as it is, but for `~` in a file's; a folder's path as `expanded` has it. Raises `BadInput`."""
    scheme, slashes, rest = url.partition("://")
    if not slashes:
        return expanded(key, url)
    if _VARIABLE.search(url):
        raise BadInput(f"{key}: {url}: variables are not expanded here: write the URL itself")
    return scheme + slashes + (expanded(key, rest) if scheme in ("file", "local") else rest)


def plain(paths: list[str]) -> list[str]:
    """Return the paths that can be inputs of a rule: Snakemake would look for wildcards in the others."""
    return [path for path in paths if not _BRACES.search(path)]


def states(paths: list[str]) -> list[str]:
    """Return size and time of the files that cannot be: as a param of their rule these tell when one has changed."""
    found = [(path, Path(path).stat()) for path in paths if _BRACES.search(path)]
    return [f"{path}: {stat.st_size} bytes, {stat.st_mtime_ns}" for path, stat in found]
