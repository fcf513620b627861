"""Print the share of the library and the step scripts that tests covered; end with 2 where it is below the floor.

    .venvs/checks/bin/python tests/measured/share.py logs/coverage.txt

The file gets the share of each module, with the lines that were not reached. The floor is fail_under in pyproject.toml;
with options of pytest after the file, which choose tests, there is none.
"""

import sys
from pathlib import Path

import coverage


def main() -> None:
    """Add files that nothing imported, put the processes' data together, and report."""
    unseen = coverage.Coverage(source=["adapter_build", "scripts"])
    unseen.start()
    unseen.stop()
    unseen.save()
    whole = coverage.Coverage()
    whole.combine()
    whole.save()
    with open(sys.argv[1], "w", encoding="utf-8") as table:
        share = whole.report(file=table, show_missing=True)
    floor = 0.0 if sys.argv[2:] else whole.config.fail_under
    print(f"covered: {share:.1f} % of statements and branches, {floor:.1f} % asked; by module: {Path(sys.argv[1])}")
    if share < floor:
        print(f"error: covered: {share:.1f} % is below fail_under in pyproject.toml: test what is new", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
