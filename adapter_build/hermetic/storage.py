"""Names of files that Snakemake keeps in a storage (s3://…): a local copy elsewhere has the name of its original."""

from pathlib import Path

COPIES = Path(".snakemake/storage")
BUILT = ("results", "logs", "benchmarks")


def name_of(path: Path) -> Path:
    """Return the path of a file in a checkout without storage: for .snakemake/storage/s3/…/results/x, results/x.

    Raises `StopIteration` for a copy of a file that no build makes.
    """
    if not path.is_relative_to(COPIES):
        return path
    return Path(*path.parts[next(index for index, part in enumerate(path.parts) if part in BUILT) :])
