"""Paths in a configuration: `~` is a home folder, a variable is refused, braces are no wildcards."""

import os
import re
from pathlib import Path

from adapter_build.core.faults import BadInput

# Snakemake prints names as they are, so characters that steer a terminal or turn the direction of writing count too.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_VARIABLE = re.compile(r"\$(?:\{|[A-Za-z_])")
_BRACES = re.compile(r"[{}<>]")  # Snakemake takes these in an input's name for wildcards and path variables


def expanded(key: str, path: str) -> str:
    """Return a path with the home folder in place of a leading `~` or `~user`; an empty path stays empty.

    Raises `BadInput` that names the key for a control character, an unknown user, or a variable, which would become a
    folder's name.
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
    """Return a URL as it is, but `~` expanded in a file's; a folder's path as `expanded` does. Raises `BadInput`."""
    scheme, slashes, rest = url.partition("://")
    if not slashes:
        return expanded(key, url)
    if _VARIABLE.search(url):
        raise BadInput(f"{key}: {url}: variables are not expanded here: write the URL itself")
    return scheme + slashes + (expanded(key, rest) if scheme in ("file", "local") else rest)


def plain(paths: list[str]) -> list[str]:
    """Return the paths that can be inputs of a rule: those without braces, which Snakemake takes for wildcards."""
    return [path for path in paths if not _BRACES.search(path)]


def states(paths: list[str]) -> list[str]:
    """Return size and time of each file that cannot be an input: as a param of its rule these show a change of it."""
    found = [(path, Path(path).stat()) for path in paths if _BRACES.search(path)]
    return [f"{path}: {stat.st_size} bytes, {stat.st_mtime_ns}" for path, stat in found]
