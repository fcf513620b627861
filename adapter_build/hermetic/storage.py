"""Names of files that Snakemake keeps in a storage (s3://…): its copies lie elsewhere, what they are is the same."""

from pathlib import Path

COPIES = Path(".snakemake/storage")
BUILT = ("results", "logs", "benchmarks")


def name_of(path: Path) -> Path:
    """Return the path that a file has in a checkout without storage: of .snakemake/storage/s3/…/results/x, results/x.

    Raises `StopIteration` for a copy of something that no build makes.
    """
    if not path.is_relative_to(COPIES):
        return path
    return Path(*path.parts[next(index for index, part in enumerate(path.parts) if part in BUILT) :])
