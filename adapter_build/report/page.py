"""The report's page: a Jinja template, filled in so that no data can break out of it."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2

from adapter_build.report.figures import share_bar

# Characters that HTML forbids in text, and marks that turn the direction of writing: a model may answer with any.
UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def render(template: Path, **content: Any) -> str:
    """Return the page: all data is escaped, and characters that HTML forbids become U+FFFD."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template.parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {"share_bar": share_bar, "spoken_bound": spoken_bound, "flatten": flatten}
    environment.filters["signed"] = lambda value: f"{value:+.1f}".replace("-", "\u2212")
    environment.filters["quoted"] = shlex.quote
    environment.filters["count"] = lambda value: f"{value:,}"
    return UNPRINTABLE.sub("\ufffd", environment.get_template(template.name).render(**content))


def flatten(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield every setting as (dotted key, JSON text)."""
    if isinstance(value, dict) and value:
        for name in sorted(value):
            yield from flatten(value[name], f"{key}.{name}" if key else name)
    else:
        yield key, value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def spoken_bound(bound: str) -> str:
    """Turn the ledger's `50..500` into words; any other text is left as it is."""
    low, dots, high = bound.partition("..")
    if not dots:
        return bound
    return f"{low} to {high}" if low and high else f"at least {low}" if low else f"at most {high}"
