"""The ledger: a Parquet table with a row for each record, kept in a split or dropped, by which filter and why."""

import glob
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from adapter_build.core.atomic_file import replacing
from adapter_build.core.faults import BadInput

SCHEMA = pa.schema(
    [
        pa.field("record_id", pa.string(), nullable=False),
        pa.field("position", pa.int64(), nullable=False),  # in the raw file, from 0
        pa.field("split", pa.string()),  # train, val or test; null if the record never reached a split
        pa.field("outcome", pa.string(), nullable=False),  # kept or dropped
        pa.field("step", pa.string()),  # that dropped it; null if kept, as are all columns below but parent
        pa.field("filter", pa.string()),  # the first that the record failed, in their declared order
        pa.field("field", pa.string()),  # of the record, that the filter measured
        pa.field("measured", pa.float64()),  # null if the value itself was unknown
        pa.field("bound", pa.string()),  # that the measured value had to keep: "50..500"
        pa.field("duplicate_of", pa.string()),
        pa.field("parent", pa.string()),  # the record that a synthetic one was made from
    ]
)


def write_ledger(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    """Write rows, whole or not at all; a column left out is null. Returns the number of rows.

    The same rows give the same bytes: every setting of the format is fixed here, and none of them is a time.
    """
    table = pa.Table.from_pylist(list(rows), schema=SCHEMA)
    with replacing(path) as part:
        pq.write_table(table, part, version="2.6", compression="zstd", compression_level=3, row_group_size=1 << 20)
    return table.num_rows


def check_ledger(path: Path) -> None:
    """Raise `BadInput` if the file is missing or no ledger, by its columns and their types; its rows are not read."""
    try:
        schema = pq.read_schema(path)
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except (pa.ArrowInvalid, OSError) as error:  # an OSError too where its footer makes no sense
        raise BadInput(f"{path}: not a Parquet file ({error})") from None
    if not schema.equals(SCHEMA):
        raise BadInput(f"{path}: not a ledger: its columns are {', '.join(schema.names)}")


def read_ledger(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a ledger. Raises `BadInput` as `check_ledger` does."""
    check_ledger(path)
    return pq.read_table(path).to_pylist()


def query(sql: str, parameters: Sequence[Any] = (), **relations: Path | pa.Table) -> list[dict[str, Any]]:
    """Return the rows of a SELECT, column → value. DuckDB runs it: of a large ledger only what is asked for is read.

    `relations` are the tables that the SELECT may name; a path is a ledger's. `parameters` take the place of its `?`,
    in order. Raises `BadInput` if a file is missing, damaged or no ledger.
    """
    import duckdb  # of the environment workflow; steps of other environments write and read ledgers without it

    with duckdb.connect(config={"autoinstall_known_extensions": False}) as database:
        for name, relation in relations.items():
            if isinstance(relation, Path):
                check_ledger(relation)
                # A star or a bracket in a path is part of its name, and no pattern.
                database.read_parquet(glob.escape(str(relation))).create_view(name)
            else:
                database.register(name, relation)
        try:
            found = database.execute(sql, parameters)
            names = [column[0] for column in found.description]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
        except duckdb.Error as error:  # of several kinds, where a page of the file is damaged
            files = ", ".join(str(relation) for relation in relations.values() if isinstance(relation, Path))
            raise BadInput(f"{files}: cannot be read ({str(error).splitlines()[0]}): rm it, then make") from None
