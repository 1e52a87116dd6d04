"""The results of a simulation as JSON or CSV, piece by piece, however many instances there are. Called by the API.

Between two pieces nothing is held open. When what is read cannot be told whole, the pieces break off with an error, and
whoever passes them on must not end cleanly."""

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

from shared.domain.errors import Unavailable
from shared.persistence.database import Database
from webapp.queries import results as queries
from webapp.queries.results import Head

# In the order of the columns; "parameters" and "metrics" have one for each name.
COLUMNS = ("index", "id", "state", "reason", "passed", "attempt", "exit_code", "seed", "parameters", "metrics",
           "started_at", "ended_at", "duration_seconds", "bundles")
NAMED = ("parameters", "metrics")
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would compute, when a text begins with it


def as_json(database: Database, head: Head) -> Iterator[str]:
    """One object of the simulation's id and the items, a line each."""
    yield f'{{"simulation": "{head.id}", "items": [\n'
    between = ""
    for batch in _batches(database, head):
        yield between + ",\n".join(json.dumps(item, ensure_ascii=False) for item in batch)
        between = ",\n"
    yield "\n]}\n"


def as_csv(database: Database, head: Head) -> Iterator[str]:
    """RFC 4180 with a header. Null is empty, what is nested is JSON; a text that a spreadsheet would take for a formula
    gets a ' before it."""
    with database.single() as tx:
        names = queries.names(tx, head)
    named = {"parameters": names.parameters, "metrics": names.metrics}
    yield _lines([[f"{column}.{name}" if column in NAMED else column
                   for column in COLUMNS for name in named.get(column, [""])]])
    for batch in _batches(database, head):
        yield _lines([_cells(item, named) for item in batch])


def _batches(database: Database, head: Head) -> Iterator[list[dict[str, Any]]]:
    for first in range(0, head.total, queries.BATCH):
        with database.single() as tx:
            batch = queries.batch(tx, head.id, first)
        if len(batch) != min(queries.BATCH, head.total - first):
            raise Unavailable(f"instances of simulation {head.id} are missing from index {first} on: "
                              "it is being deleted", code="results_changed")
        yield batch


def _cells(item: dict[str, Any], named: dict[str, list[str]]) -> list[Any]:
    cells: list[Any] = []
    for column in COLUMNS:
        if column not in NAMED:
            cells.append(" ".join(item[column]) if column == "bundles" else _cell(item[column]))
            continue
        values = item[column] or {}
        if unknown := values.keys() - named[column]:
            raise Unavailable(f"instance {item['id']} has got {column} that none had when the table began: "
                              f"{', '.join(sorted(unknown))}", code="results_changed", remedy="ask again")
        cells += [_cell(values.get(name)) for name in named[column]]
    return cells


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return f"'{value}" if value.startswith(FORMULA) else value
    if isinstance(value, bool | list | dict):
        return json.dumps(value, ensure_ascii=False)
    return value


def _lines(rows: list[list[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()
