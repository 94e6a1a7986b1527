"""How all rows of a type look at an instant, and what is said of columns that came and went."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Iterator, Sequence

from rich.text import Text

from llamalog_sql import output
from llamalog_sql.instants import ColumnChange, EntityAt
from llamalog_sql.pausing import Pause

#: Fields of a row that its line shows.
_FIELDS = 4


def write_entities(
    batches: Iterable[Sequence[EntityAt]], form: str, key_columns: Collection[str]
) -> None:
    """Write rows as they come: as a line each for a person, a JSON array, JSON lines, or csv with the image as JSON.

    key_columns: left out of the lines, which begin with the key.
    """
    if form == "table":
        target = output.console()
        for row in _each(batches):
            target.print(_line(row, key_columns), soft_wrap=True)
    elif form == "json":
        is_first = True
        for row in _each(batches):
            sys.stdout.write("[\n" if is_first else ",\n")
            sys.stdout.write(output.as_json(output.as_dict(row)))
            is_first = False
        sys.stdout.write("[]\n" if is_first else "\n]\n")
    else:
        output.write_batches(batches, EntityAt, form)


def _each(batches: Iterable[Sequence[EntityAt]]) -> Iterator[EntityAt]:
    for batch in batches:
        yield from batch


def _line(row: EntityAt, key_columns: Collection[str]) -> Text:
    """Return a row as its key and the first of its fields that hold something."""
    line = Text(output.clean(row.entity_id), style="bold")
    if row.image is None:
        return line.append("  not known: the row is gone unseen", style="yellow")
    held = [
        (name, value)
        for name, value in row.image.items()
        if value is not None and name not in key_columns
    ]
    shown = [f"{name}: {output.short_value(value)}" for name, value in held[:_FIELDS]]
    if len(held) > _FIELDS:
        shown.append(f"{len(held) - _FIELDS} more")
    return line.append(output.clean("  " + ", ".join(shown)) if shown else "", style="not bold")


def column_change(change: ColumnChange) -> str:
    """Return what is to be known of an older row: a column that it lacks, or knows by another name."""
    when = f"at {output.moment(change.noticed_at)}"
    if change.after_at < change.noticed_at:
        when = f"between {output.moment(change.after_at)} and {output.moment(change.noticed_at)}"
    name = output.clean(change.column_name)
    if change.change == "renamed":
        return (
            f"column {name} was called {output.clean(change.old_name)} until it was renamed {when}"
        )
    if change.change == "dropped":
        return f"column {name} was dropped {when}; its values before are known only where a change holds them"
    return f"column {name} was added {when}"


def pause(pause: Pause) -> str:
    """Return what is to be known of a time that was not captured."""
    lasted = (
        f"was paused from {output.moment(pause.paused_at)} to {output.moment(pause.resumed_at)}"
    )
    if pause.resumed_at is None:
        lasted = f"is paused since {output.moment(pause.paused_at)}"
    return output.clean(
        f"capture of {pause.entity_type} {lasted} by {pause.paused_by}: {pause.reason}; what was written then is not in the log"
    )
