"""Questions to ledgers, answered by DuckDB from the Parquet files: of a large one only what is asked for is read."""

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from adapter_build.core.faults import BadInput
from adapter_build.records.ledger import check_ledger


def query(sql: str, parameters: Sequence[Any] = (), **relations: Path | pa.Table) -> list[dict[str, Any]]:
    """Return the rows of a SELECT, column → value. Raises `BadInput` if a file is missing or no ledger.

    `relations` are what the SELECT may name: a path is a ledger's. `parameters` take the place of its `?`, in order.
    """
    with duckdb.connect(config={"autoinstall_known_extensions": False}) as database:
        for name, relation in relations.items():
            if isinstance(relation, Path):
                check_ledger(relation)
                # A star or a bracket in a path of ours is no pattern.
                database.read_parquet(glob.escape(str(relation))).create_view(name)
            else:
                database.register(name, relation)
        try:
            found = database.execute(sql, parameters)
            names = [column[0] for column in found.description]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
        except duckdb.Error as error:  # of one kind or another, where a page of the file is damaged
            files = ", ".join(str(relation) for relation in relations.values() if isinstance(relation, Path))
            raise BadInput(f"{files}: cannot be read ({str(error).splitlines()[0]}): rm it, then make") from None
