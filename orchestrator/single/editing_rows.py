"""What is known of each edit of a folder: the rows of its manifest, and of its failures."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.single.documents import written_json
from orchestrator.single.editing import Edits
from orchestrator.single.editing_plan import Planned

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]
"""Of the manifest."""
Name = tuple[str, str, int]
"""Which edit of a folder: source, prompt id, replica."""


def name_of(each: Planned) -> Name:
    """What tells an edit from the others of its folder."""
    return each.edit.source, each.edit.prompt_id, each.edit.replica


def name_of_row(row: Row) -> Name:
    """The same, by its row."""
    return row["source"], row["prompt_id"], row["replica"]


def row_of(edits: Edits, each: Planned, stamp: Mapping[str, str], found: Row) -> Row:
    """A row of the manifest.

    Args:
        stamp: of the editor.
        found: what is known beside: refusal, cost, seconds.
    """
    edit = each.edit
    return {
        "file": None if found.get("refusal") else each.file,
        "source": edit.source,
        "source_sha256": edit.sha256,
        "class": edit.class_name,
        "prompt": edit.prompt,
        "prompt_id": edit.prompt_id,
        "replica": edit.replica,
        "seed": each.seed,
        "edit_id": each.id,
        "editor": edits.editor.name,
        "settings": written_json(edits.settings),
        "stamp": written_json(dict(stamp)),
        "mask_digest": edit.mask_digest,
        "cost_usd": found.get("cost_usd", 0.0),
        "refusal": found.get("refusal", ""),
        "seconds": found.get("seconds", 0.0),
    }


def table_of(rows: Sequence[Row]) -> "pa.Table":
    """Rows as the manifest has them."""
    import pyarrow as pa

    texts = ("file", "source", "source_sha256", "class", "prompt", "prompt_id")
    more = ("edit_id", "editor", "settings", "stamp", "mask_digest")
    schema = pa.schema(
        [
            *((name, pa.string()) for name in texts),
            *((name, pa.int64()) for name in ("replica", "seed")),
            *((name, pa.string()) for name in more),
            ("cost_usd", pa.float64()),
            ("refusal", pa.string()),
            ("seconds", pa.float64()),
        ]
    )
    return pa.Table.from_pylist(list(rows), schema)


def parquet(table: "pa.Table") -> bytes:
    """A table as a file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def failures(
    planned: Sequence[Planned], rows: Mapping[Name, Row], why_left: Mapping[str, str]
) -> bytes:
    """What was refused or is left, as CSV.

    Args:
        rows: of the edits that are done.
        why_left: by id, where it is known.
    """
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["source", "class", "prompt_id", "replica", "edit_id", "what", "why"])
    for each in planned:
        row, edit = rows.get(name_of(each)), each.edit
        if row is not None and not row["refusal"]:
            continue
        what = "left" if row is None else "refused"
        why = why_left.get(each.id, "not begun") if row is None else row["refusal"]
        place = (edit.source, edit.class_name, edit.prompt_id, edit.replica)
        table.writerow([*place, each.id, what, why])
    return text.getvalue().encode()
