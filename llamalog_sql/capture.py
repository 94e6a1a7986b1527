"""The capture of one table: renders it, hangs it on the table, takes it off again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import count
from typing import Any

import psycopg
from psycopg.rows import dict_row

from llamalog_sql.connection import Connection, as_owner, rows
from llamalog_sql.describe import Watch
from llamalog_sql.errors import CannotWatch
from llamalog_sql.render import IMAGE_SETTINGS, ident, literal, render

EVENTS = ("insert", "update", "delete")

#: Variables and aliases that a template uses for a row.
_ROWS = ("NEW", "OLD", "v_new", "v_old", "new_row", "old_row")


#: Types of which no key is long.
_SHORT = {"smallint", "integer", "bigint", "uuid", "date", "boolean"}


@dataclass(frozen=True)
class RowExpressions:
    """The SQL that reads, from one row variable of a trigger, what a log row holds.

    ends: what the row belongs to or joins, each with type and id as SQL and is_head_by_default as true or false.
    """

    id: str
    related_id: str
    image: str
    fields: str
    quality: str
    sources: str
    ends: list[dict[str, str]]


@dataclass(frozen=True)
class Capture:
    """The SQL of a table's capture.

    making: creates its functions, as the owner of the log.  hanging: puts the triggers on the table.
    reading: creates the functions by which questions read its rows, and policies of the log ask who sees them, as the owner
    of the log.
    """

    making: list[str]
    hanging: list[str]
    reading: list[str]

    @property
    def functions(self) -> list[str]:
        """What the owner of the log creates."""
        return [*self.reading, *self.making]

    @property
    def statements(self) -> list[str]:
        """All of it in order."""
        return [*self.functions, *self.hanging]


def build(conn: Connection, watch: Watch) -> Capture:
    """Return the capture that the table should have; changes nothing."""
    table = literal(f"{ident(watch.schema_name)}.{ident(watch.table_name)}")
    entity_type = literal(watch.entity_type)
    truncate = (
        f"SELECT llamalog.hang_truncate_capture(member.oid, {entity_type})\n"
        f"FROM llamalog.family({table}::regclass) AS member (oid);\n"
    )
    reading = [*_reader(conn, watch), *_sight(conn, watch)]
    if watch.capture == "tolerant":
        tolerant = (
            f"SELECT llamalog.hang_tolerant_capture(member.oid, {entity_type})\n"
            f"FROM llamalog.family({table}::regclass) AS member (oid)\n"
            f"WHERE member.oid = {table}::regclass OR NOT llamalog.is_partitioned(member.oid);\n"
        )
        return Capture([], [tolerant, truncate], reading)
    names = {event: function_name(watch.entity_type, event) for event in EVENTS}
    settings = _settings(watch)
    if watch.capture == "statement":
        settings["jit"] = "off"  # it would compile long expressions for each statement anew
    scopes = dict.fromkeys(EVENTS, "FOR EACH ROW")
    if not (watch.table.insert_is_by_row or watch.is_always):
        scopes["insert"] = "REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT"
    if watch.capture == "statement":
        scopes["update"] = (
            "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT"
        )
    logged = [
        c for c in watch.columns if c.name not in watch.ignored_columns and not c.is_generated
    ]
    values: dict[str, Any] = {
        "watch": watch,
        "table": watch.table.shown,
        "is_family": watch.table.is_family,
        "is_by_row": {event: scope.endswith("ROW") for event, scope in scopes.items()},
        "functions": names,
        "rows": _row_expressions(conn, watch),
        # SQL would take a column of that name for the row
        "inserted": _free_name(watch, "new_row"),
        "image_name": _free_name(watch, "image"),
        "place": _free_name(watch, "place"),
        "settings": settings,
        "stored_columns": [c for c in watch.columns if not c.is_generated],
        "columns": logged,
        "unlogged_columns": [c for c in watch.columns if c not in logged],
        "has_generated_key": any(
            c.is_generated for c in watch.columns if c.name in watch.key_columns
        ),
    }
    comment = literal(f"Capture of {watch.table.shown}, rendered by llamalog watch.")
    making = [
        statement
        for event in EVENTS
        for statement in (
            render(f"{event}.sql.j2", **values),
            # nobody hangs a capture on a table of his own: that would forge the log
            f"REVOKE ALL ON FUNCTION llamalog.{ident(names[event])}() FROM PUBLIC;\n",
            # but the owner, when he adds a partition: PostgreSQL asks him
            f"GRANT EXECUTE ON FUNCTION llamalog.{ident(names[event])}() TO {ident(watch.table.owner)};\n",
            f"COMMENT ON FUNCTION llamalog.{ident(names[event])}() IS {comment};\n",
        )
    ]
    triggers = [
        f"CREATE OR REPLACE TRIGGER {ident(trigger_name(event))}\n"
        f"    AFTER {event.upper()} ON {ident(watch.schema_name)}.{ident(watch.table_name)}\n"
        f"    {scope}\n"
        f"    EXECUTE FUNCTION llamalog.{ident(names[event])}({entity_type});\n"
        for event, scope in scopes.items()
    ]
    always = f"SELECT llamalog.fire_always({table}::regclass, {entity_type});\n"
    return Capture(making, [truncate, *triggers, *[always] * watch.is_always], reading)


def hang(conn: Connection, watch: Watch, capture: Capture) -> None:
    """Create the functions as the owner of the log, and hang them on the table as whoever is connected.

    Raises CannotWatch (42501) without the right to.
    """
    try:
        if capture.functions:
            with as_owner(conn):
                for text in capture.functions:
                    conn.execute(text.encode())
        for text in capture.hanging:
            conn.execute(text.encode())
        # made anew, it would end a pause
        conn.execute("SELECT llamalog.fit_pause(%s)", [watch.entity_type])
    except psycopg.errors.InsufficientPrivilege as error:
        raise CannotWatch(
            f"{watch.table.shown}: {error.diag.message_primary}",
            sqlstate=error.sqlstate,
            hint="Connect as the owner of the table, or as a superuser.",
        ) from error


def removal(conn: Connection, oid: int, entity_type: str) -> list[str]:
    """Return the SQL that takes the capture off a table and takes back what was granted for it.

    What tells who sees a row stays, and with it the row security of its history.
    """
    triggers = rows(
        conn,
        # what fills an adopted log hangs there too, and stays
        "SELECT hung.tgname, member.oid::regclass::text FROM llamalog.family(%s) AS member (oid)"
        " JOIN pg_trigger AS hung ON hung.tgrelid = member.oid AND hung.tgparentid = 0"
        " JOIN pg_proc AS called ON called.oid = hung.tgfoid AND called.pronamespace = 'llamalog'::regnamespace"
        " WHERE called.proname NOT IN ('fill_adopted', 'refill_adopted') ORDER BY hung.tgname, member.oid",
        [oid],
    )
    ((table, reader, label_reader),) = rows(
        conn,
        "SELECT %s::oid::regclass::text, llamalog.reader_name(%s), llamalog.label_reader_name(%s)",
        [oid, entity_type, entity_type],
    )
    return [
        *(f"DROP TRIGGER {ident(name)} ON {member};\n" for name, member in triggers),
        *(
            f"DROP FUNCTION IF EXISTS llamalog.{ident(function_name(entity_type, event))}();\n"
            for event in EVENTS
        ),
        f"DROP FUNCTION IF EXISTS llamalog.{ident(reader)}(text, text);\n",
        f"DROP FUNCTION IF EXISTS llamalog.{ident(label_reader)}(text[], text);\n",
        f"SELECT llamalog.take_back_grants({literal(table)}::regclass, {literal(entity_type)});\n",
    ]


def faulty_triggers(conn: Connection, watch: Watch) -> dict[str, list[str]]:
    """Return, as missing, disabled and edited, the names of our triggers that a table, a partition or an heir has so; {} when all is well."""
    found = rows(
        conn,
        "SELECT fault.state, array_agg(DISTINCT fault.event) FROM ("
        "SELECT CASE WHEN hung.tgname IS NULL THEN 'missing' WHEN hung.tgenabled = ANY (%s) THEN 'edited' ELSE 'disabled' END,"
        " lacking.event FROM llamalog.family(%s) AS member (oid)"
        " CROSS JOIN unnest(llamalog.lacking_triggers(member.oid, %s)) AS lacking (event)"
        " LEFT JOIN (pg_trigger AS hung JOIN pg_proc AS called ON called.oid = hung.tgfoid"
        " AND called.pronamespace = 'llamalog'::regnamespace)"
        " ON hung.tgrelid = member.oid AND hung.tgname = '00_llamalog_' || lacking.event"
        ") AS fault (state, event) GROUP BY 1",
        # ENABLE ALWAYS; and as CREATE TRIGGER makes it: but not ENABLE REPLICA, for replication alone
        [["A"] if watch.is_always else ["A", "O"], watch.table.oid, watch.entity_type],
    )
    return {state: [trigger_name(event) for event in events] for state, events in found}


def subscriptions(conn: Connection, oid: int) -> list[str]:
    """Return the names of the subscriptions that write to the table, a partition or an heir."""
    found = rows(
        conn,
        "SELECT DISTINCT subscription.subname FROM pg_subscription AS subscription"
        " JOIN pg_subscription_rel AS target ON target.srsubid = subscription.oid"
        " JOIN llamalog.family(%s) AS member (oid) ON member.oid = target.srrelid ORDER BY 1",
        [oid],
    )
    return [str(name) for (name,) in found]


def trigger_name(event: str) -> str:
    """Return the name of a trigger: it sorts before the application's, and before those of foreign keys."""
    return f"00_llamalog_{event}"


def function_name(entity_type: str, event: str) -> str:
    """Return the name of a rendered function, within the 63 bytes of an identifier."""
    name = f"capture_{entity_type.lower()}_{event}"
    if len(name.encode()) <= 63:
        return name
    digest = hashlib.md5(entity_type.encode(), usedforsecurity=False).hexdigest()
    return f"capture_{digest}_{event}"


def _reader(conn: Connection, watch: Watch) -> list[str]:
    """Return the SQL of the functions by which questions read rows and labels of the table; none for what they do not ask about."""
    if watch.is_link or not watch.has_key:
        return []
    ((name, shape, query, label_name, label_shape, label_query),) = rows(
        conn,
        "SELECT llamalog.reader_name(%(entity_type)s), llamalog.reader_shape(%(oid)s, %(key)s, %(hidden)s),"
        " llamalog.live_query(%(oid)s, %(key)s, %(hidden)s),"
        " llamalog.label_reader_name(%(entity_type)s), llamalog.reader_shape(%(oid)s, %(key)s, ARRAY[%(label)s]),"
        " llamalog.label_query(%(oid)s, %(key)s, %(label)s)",
        {
            "entity_type": watch.entity_type,
            "oid": watch.table.oid,
            "key": watch.key_columns,
            "hidden": [*watch.ignored_columns, *watch.redacted_columns],
            "label": watch.label_column,
        },
    )
    table = watch.table.shown
    return [
        render("read.sql.j2", name=name, table=table, shape=shape, query=query),
        f"COMMENT ON FUNCTION llamalog.{ident(name)}(text, text) IS"
        f" {literal(f'Reads a row of {table}; rendered by llamalog watch.')};\n",
        render(
            "read_labels.sql.j2", name=label_name, table=table, shape=label_shape, query=label_query
        ),
        f"COMMENT ON FUNCTION llamalog.{ident(label_name)}(text[], text) IS"
        f" {literal(f'Reads labels of rows of {table}; rendered by llamalog watch.')};\n",
    ]


def _sight(conn: Connection, watch: Watch) -> list[str]:
    """Return the SQL of the function that tells policies of the log whether the caller sees a row; none where nobody asked."""
    if not watch.is_protected:
        return []
    ends = [("$1", watch.subject_columns)]
    if watch.is_link:
        ends.append(("$2", watch.related_columns or []))
    matches, names = [], []
    for id, columns in ends:
        ((match, name),) = rows(
            conn,
            "SELECT llamalog.key_match(%(oid)s, %(columns)s, 'live', %(id)s),"
            " llamalog.key_expression(%(oid)s, %(columns)s, 'live')",
            {"oid": watch.table.oid, "columns": columns, "id": id},
        )
        matches.append(match)
        # in another spelling, as 1.00 for 1, it is another
        names.append(f"{name} = {id}")
    key = [c for c in watch.columns if any(c.name in columns for _, columns in ends)]
    used = {name for column in key for name in column.settings}
    can_be_cut = not watch.is_link and any(c.base_type not in _SHORT for c in key)
    ((name,),) = rows(conn, "SELECT llamalog.sight_name(%s)", [watch.entity_type])
    comment = literal(
        f"Whether the caller sees a row of {watch.table.shown}; rendered by llamalog watch."
    )
    return [
        render(
            "sees.sql.j2",
            name=name,
            table=watch.table.shown,
            qualified=watch.table.qualified,
            owner=watch.table.owner,
            condition=" AND ".join([*matches, *names]),
            # a long key is cut and hashed: see llamalog.key_text()
            cut=names[0] if can_be_cut else None,
            settings={name: value for name, value in IMAGE_SETTINGS.items() if name in used},
        ),
        # whoever reads the log asks it, and learns what he sees anyway
        f"GRANT EXECUTE ON FUNCTION llamalog.{ident(name)}(text, text) TO PUBLIC;\n",
        f"COMMENT ON FUNCTION llamalog.{ident(name)}(text, text) IS {comment};\n",
    ]


def _row_expressions(conn: Connection, watch: Watch) -> dict[str, RowExpressions]:
    """Ask llamalog for the SQL of keys, images and fields of this table, for each row variable a template uses."""
    # asked once, under a name that is part of no column's: it is the same for all of them but for that name
    anyone = "any_row"
    while any(anyone in column.name for column in watch.columns):
        anyone += "_"
    with conn.cursor(row_factory=dict_row) as cursor:
        (asked,) = cursor.execute(
            "SELECT llamalog.key_expression(%(oid)s, %(subject)s, %(row)s) AS id,"
            " coalesce(llamalog.key_expression(%(oid)s, %(related)s, %(row)s), 'NULL') AS related_id,"
            " llamalog.image_expression(%(oid)s, %(redacted)s, %(row)s) AS image,"
            " llamalog.fields_expression(%(oid)s, %(ignored)s, %(row)s) AS fields,"
            " coalesce(llamalog.text_expression(%(oid)s, %(quality)s, %(row)s), 'NULL') AS quality,"
            " coalesce('coalesce(v_sources, ARRAY[' || llamalog.text_expression(%(oid)s, %(source)s, %(row)s) || '])',"
            " 'v_sources') AS sources",
            {
                "oid": watch.table.oid,
                "row": anyone,
                "subject": watch.subject_columns,
                "related": watch.related_columns,
                "redacted": watch.redacted_columns,
                "ignored": watch.ignored_columns,
                "quality": watch.quality_column,
                "source": watch.source_column,
            },
        ).fetchall()

    def of(row: str) -> RowExpressions:
        made = {name: text and text.replace(anyone, row) for name, text in asked.items()}
        return RowExpressions(
            **made,
            ends=[
                {
                    "type": literal(kind),
                    "id": made["id"] if watch.is_link and position == 0 else made["related_id"],
                    "is_head_by_default": "true" if is_head else "false",
                }
                for position, (kind, is_head) in enumerate(watch.ends)
            ],
        )

    return {row: of(row) for row in (*_ROWS, _free_name(watch, "new_row"))}


def _free_name(watch: Watch, wanted: str) -> str:
    """Return a name that is no column's."""
    names = {column.name for column in watch.columns}
    return next(name for n in count() if (name := f"{wanted}{n or ''}") not in names)


def _settings(watch: Watch) -> dict[str, str]:
    """Return the settings that images and keys of this table depend on."""
    used = {name for column in watch.columns for name in column.settings}
    return {name: value for name, value in IMAGE_SETTINGS.items() if name in used}
