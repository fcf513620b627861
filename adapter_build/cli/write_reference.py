"""Write the pages of docs/ that are taken from the tree; --check: name each that is not as the tree is.

python -m adapter_build.cli.write_reference [--check]
"""

import argparse
from collections.abc import Callable

from adapter_build import ROOT
from adapter_build.core.faults import BadInput, run
from adapter_build.reference import action_keys, configuration_page, packages

PAGES: dict[str, Callable[[], str]] = {
    "docs/ARCHITECTURE.md": packages.architecture,
    "docs/action-keys.md": action_keys.page,
    "docs/configuration.md": configuration_page.page,
}


def main() -> None:
    """Write the pages, or compare them. Raises `BadInput` for one that is old."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    for name, page in PAGES.items():
        path, text = ROOT / name, page()
        if path.is_file() and path.read_text("utf-8") == text:
            continue
        if check:
            raise BadInput(f"{name}: older than the tree that it describes: run make docs")
        path.write_text(text, encoding="utf-8")
        print(f"{name}: written")


if __name__ == "__main__":
    run(main)
