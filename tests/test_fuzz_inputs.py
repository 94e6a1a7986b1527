"""Whatever is asked, an answer comes or an error that docs/errors.md lists: from every function, and from every command."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import click
import psycopg
import pytest
from click.testing import CliRunner
from conftest import sampled
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from test_properties import PROFILE

from llamalog_sql.cli import main
from llamalog_sql.files import sql_directory

ROOT = Path(__file__).parents[1]

DOCUMENTED = {
    code
    for cell in re.findall(
        r"(?m)^\| ([0-9A-Z]{5}(?:, [0-9A-Z]{5})*) \|", (ROOT / "docs" / "errors.md").read_text()
    )
    for code in cell.split(", ")
}

#: What the documents tell people to call: there, an error says what to do. The others are parts of these, or of capture.
NAMED = sorted(
    {
        name
        for path in [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]
        for name in re.findall(r"\bllamalog\.(\w+)\(", path.read_text())
    }
    & {path.stem for path in (sql_directory() / "functions").glob("*.sql")}
)

#: More than any answer takes, less than a loop without end.
PATIENCE = "60s"

# -- functions --------------------------------------------------------------------------------------------------------


def cursor(value: Any) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


TEXTS = [
    *("", " ", "x", "ALBUM", "album", "TRACK", "ALBUM_ARTIST", "OK Computer", "null", "-1", "0"),
    *(
        "it's",
        '"',
        "\\",
        "a,b",
        ",",
        "\\,",
        "a\\",
        "%",
        "%s",
        "%1$s",
        "_",
        "{}",
        "[]",
        "{a",
        "\n\t",
    ),
    *("\x01\x1f\x7f", "\ufffe\uffff", "\u202e", "e\u0301", "🦙", "1e400", "9" * 40, "infinity"),
    *("'; DROP TABLE albums; --", "day", "source", "theirs", "CREATED", "FAILED", "tx:1@2"),
    *("00000000-0000-0000-0000-000000000000", "00000000-0000-0000-0000-00000000000g"),
    *("x" * 201, "x," * 20_000, "é" * 100_000),
    # cursors that are none
    *("AAAA", "////", "e30=", cursor([]), cursor({"seq": "x"}), cursor({"seq": 10**30})),
    cursor({"q": None, "s": "1:1:", "seq": -1, "at": "infinity", "id": "\\"}),
]
ARRAYS = [
    *("{}", "{NULL}", '{""}', "{CREATED,NULL}", "{CREATED}", "{created}", "{{a,b},{c,d}}"),
    *("[5:6]={a,b}", '{"a,b","c\\\\d"}', "{" + ",".join(["x"] * 10_000) + "}"),
]
#: Texts that each type reads.  Every argument may be null besides.
POOL: dict[str, list[str]] = {
    "text": TEXTS,
    "text[]": ARRAYS,
    "boolean": ["true", "false"],
    "integer": ["-2147483648", "-1", "0", "1", "2", "2147483647"],
    "bigint": ["-9223372036854775808", "-1", "0", "1", "9223372036854775807"],
    "timestamp with time zone": [
        *("infinity", "-infinity", "4713-01-01 00:00:00+00 BC", "0001-01-01 00:00:00+00 BC"),
        *("epoch", "now", "294276-12-31 23:59:59.999999+00", "2026-01-01 00:00:00+14"),
    ],
    "interval": [
        *(
            "0",
            "-1 day",
            "1 microsecond",
            "178000000 years",
            "-178000000 years",
            "1 month -30 days",
        ),
    ],
    "jsonb": [
        *("null", "{}", "[]", "1", '"x"', '{"$json": 1}', '{"a": {"b": [null, 1e40]}}'),
        "[" * 500 + "]" * 500,
    ],
    "pg_snapshot": ["1:1:", "10:20:10,15", "9000000000000000000:9000000000000000000:"],
    "oid": ["0", "1259", "2615", "4294967295"],
    "oid[]": ["{}", "{NULL}", "{0,1259}"],
    "xid8": ["0", "18446744073709551615"],
}


class Function(NamedTuple):
    """names, types: of its arguments.  is_variadic: whether the last takes the rest."""

    name: str
    names: list[str]
    types: list[str]
    is_variadic: bool


class Surprise(NamedTuple):
    """An error that nobody was told of."""

    function: str
    arguments: str
    sqlstate: str
    message: str


def functions(conn: psycopg.Connection[Any]) -> list[Function]:
    """Every function that PUBLIC may call."""
    return [
        Function(*row)
        for row in conn.execute(
            "SELECT proname, coalesce(proargnames[:pronargs], '{}'), ARRAY(SELECT format_type(given.type, NULL)"
            " FROM unnest(proargtypes::oid[]) WITH ORDINALITY AS given (type, position) ORDER BY given.position),"
            " provariadic <> 0 FROM pg_proc WHERE pronamespace = 'llamalog'::regnamespace"
            " AND prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)"
            " AND proname !~ '^read_' ORDER BY proname"
        ).fetchall()
    ]


def ask(
    conn: psycopg.Connection[Any], function: Function, values: list[str | None]
) -> psycopg.Error | None:
    """Call it, undo what it did, and return what it raised."""
    arguments = ", ".join(f"%s::{kind}" for kind in function.types)
    if function.is_variadic:
        arguments = f"VARIADIC {arguments}"
    try:
        with conn.transaction(force_rollback=True):
            conn.execute(
                # as text: not every instant is one of Python's
                f"SELECT answer::text FROM llamalog.{function.name}({arguments}) AS answer".encode(),
                values,
            ).fetchall()
    except psycopg.Error as error:
        return error
    return None


def surprise(
    function: Function, values: list[str | None], error: psycopg.Error | None
) -> Surprise | None:
    """Return what is wrong with an error; None where it is one that is documented and says what to do.

    Of a function that nobody is told to call: None where it is no accident of the server's.
    """
    if error is None:
        return None
    said = error.diag.message_primary or str(error)
    if function.name in NAMED:
        is_ours = error.sqlstate == "22008" or (
            error.sqlstate in DOCUMENTED
            and error.diag.message_hint
            and (error.sqlstate != "22P02" or said.startswith("malformed id"))
        )
    else:
        is_ours = error.sqlstate and error.sqlstate[:2] not in ("XX", "53", "54", "57", "58")
    if is_ours and len(said) < 1000:
        return None
    shown = ", ".join("null" if value is None else repr(value[:40]) for value in values)
    return Surprise(function.name, shown, error.sqlstate or "none", said[:200])


@pytest.fixture
def told(db, new):
    """A database in which something happened, and what to ask about it by the names of arguments."""
    db.execute(
        "SELECT llamalog.set_context(source => 'addAlbum', job_id => 'j1', user_id => 'ann')"
    )
    album = new.album(db, label="XL")
    new.track(db, album)
    new.link(db, album, new.artist(db))
    db.execute("UPDATE albums SET label = 'Parlophone'")
    db.execute("SELECT llamalog.record_failure('no answer', job_id => 'j1')")
    db.execute("SELECT llamalog.set_context(NULL, NULL)")
    db.execute(f"SET LOCAL statement_timeout = '{PATIENCE}'".encode())
    seq = db.execute("SELECT max(seq)::text FROM llamalog.log WHERE op = 'U'").fetchone()[0]
    return {
        **{"entity_type": "ALBUM", "entity_id": album, "given": album, "id": album},
        **{"job_id": "j1", "source": "addAlbum", "user_id": "ann", "search": "OK"},
        **{"change": seq, "from_change": seq, "to_change": seq, "row_limit": "5"},
        **{"side": "category", "unit": "day", "cursor": None, "categories": None, "relation": None},
        **{"lock_wait": "1 second", "attempts": "1", "months_ahead": "1", "clock": "now"},
        **{"to_at": None, "planned": None, "wins": None, "at": "now"},
    }


def usual(function: Function, told: dict[str, str | None]) -> list[str | None]:
    """Arguments that make sense: what is known by the name, else null."""
    return [told.get(name) for name in function.names]


@pytest.mark.parametrize("name", sampled(NAMED, 4))
def test_a_strange_argument_is_answered_or_refused_in_words_that_are_documented(db, told, name):
    """Each argument in turn, the others as they should be."""
    (function,) = (one for one in functions(db) if one.name == name)
    found = []
    for place, kind in enumerate(function.types):
        for value in [None, *POOL[kind]]:
            values = usual(function, told)
            values[place] = value
            found.append(surprise(function, values, ask(db, function, values)))
    assert [one for one in found if one is not None] == []


@settings(PROFILE, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_strange_arguments_together_are_answered_or_refused(db, told, data):
    """Also of the functions that only ours call, but anybody may."""
    known = [function for function in functions(db) if set(function.types) <= POOL.keys()]
    for _ in range(20):
        function = data.draw(st.sampled_from(known), label="function")
        values = [
            data.draw(st.sampled_from([None, told.get(name), *POOL[kind]]))
            for name, kind in zip(function.names, function.types, strict=True)
        ]
        assert surprise(function, values, ask(db, function, values)) is None


PARTS = ["", "x", "-1", "9" * 30, "NaN", "1:1:", "2:1:", "infinity", "'", "\x01", "é"]


@pytest.mark.parametrize(
    "question",
    [
        "chain(entity_type => 'ALBUM', entity_id => {id}, row_limit => 1, cursor => {cursor})",
        "impact_entities(source => 'addAlbum', row_limit => 1, cursor => {cursor})",
    ],
    ids=["chain", "impact_entities"],
)
def test_a_cursor_with_any_part_forged_is_refused_as_malformed(db, told, question):
    def asked(cursor: str | None) -> list[Any]:
        text = question.format(id="%(id)s", cursor="%(cursor)s::text")
        return db.execute(
            f"SELECT * FROM llamalog.{text}".encode(), {"id": told["id"], "cursor": cursor}
        ).fetchall()

    def refused(cursor: str) -> str | None:
        try:
            with db.transaction(force_rollback=True):
                asked(cursor)
        except psycopg.Error as error:
            return error.sqlstate
        return None

    parts = base64.b64decode(asked(None)[-1].next_cursor).decode().split(" ")
    for place in range(len(parts)):
        for forged in PARTS:
            changed = " ".join([*parts[:place], forged, *parts[place + 1 :]])
            said = refused(base64.b64encode(changed.encode()).decode())
            assert (place, forged, said) in [(place, forged, None), (place, forged, "LL006")]


# -- commands ---------------------------------------------------------------------------------------------------------

#: By their words; but those that begin a server, or copy tables.
COMMANDS = {
    words: command
    for name, group in main.commands.items()
    for words, command in (
        {f"{name} {sub}": one for sub, one in group.commands.items()}
        if isinstance(group, click.Group)
        else {name: group}
    ).items()
    if name not in ("demo", "bench")
}
WORDS = [text for text in TEXTS if text and "\x01" not in text and len(text) < 1000]
#: Bytes that are no UTF-8 come from a shell like this.
WORDS += ["\udcff\udcfe", "--", "-x", "albums", "public.albums", "~", "/", "/dev/null", "."]
NUMBERS = ["-1", "0", "1", "5", "1.5", "9" * 30, "-9223372036854775809", "nan", "inf", "x", ""]
MOMENTS = [
    *("2026-01-01", "2026-01-01T00:00:00+14:00", "0001-01-01", "9999-12-31T23:59:59-14:00"),
    *("now", "infinity", "2026-02-30", "24:00", "", "-1"),
]


@pytest.fixture(scope="module")
def asked(clone, new):
    """asked("why", ...) runs a command on a database of the module, in which something happened."""
    with clone("music_template", "fuzz") as conn:
        album = new.album(conn)
        new.track(conn, album)
        WORDS.append(album)
        address = {**conn.info.get_parameters(), "password": conn.info.password}
        dsn = psycopg.conninfo.make_conninfo("", **{k: v for k, v in address.items() if v})
        runner = CliRunner(env={"LLAMALOG_DSN": dsn, "COLUMNS": "100"})
        yield lambda *arguments: runner.invoke(main, list(arguments))


def worth(parameter: click.Parameter) -> st.SearchStrategy[str]:
    """What to pass for it: often something that it can be."""
    kind = parameter.type
    if isinstance(kind, click.Choice):
        return st.sampled_from([*map(str, kind.choices), "x"])
    if isinstance(kind, click.types.IntRange | click.types.FloatRange) or kind.name == "integer":
        return st.sampled_from(NUMBERS)
    if kind.name == "time":
        return st.sampled_from(MOMENTS)
    return st.sampled_from(WORDS)


@st.composite
def command_lines(draw: st.DrawFn, name: str) -> list[str]:
    """The command with some of its options, and about as many words as it takes. Nothing is written."""
    words = name.split()
    parameters = COMMANDS[name].params
    for option in (p for p in parameters if isinstance(p, click.Option)):
        spelled = max(option.opts, key=len)
        if spelled in ("--dry-run", "--sql"):
            continue
        if spelled in ("--dsn", "--follow", "--yes", "--help", "--output") or draw(
            st.sampled_from([True, True, False])
        ):
            continue
        words += [spelled] if option.is_flag else [spelled, draw(worth(option))]
    if any("--dry-run" in parameter.opts for parameter in parameters):
        words.append("--dry-run")
    for argument in (p for p in parameters if isinstance(p, click.Argument)):
        if argument.required or draw(st.booleans()):
            words.append(draw(worth(argument)))
    return words


@pytest.mark.parametrize("name", sorted(COMMANDS))
@settings(PROFILE, max_examples=4 if PROFILE.max_examples < 100 else PROFILE.max_examples)
@given(data=st.data())
def test_a_command_answers_or_says_in_a_line_what_is_wrong_and_what_to_do(asked, name, data):
    words = data.draw(command_lines(name), label="words")
    result = asked(*words)
    note(result.stderr)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code in (0, 1, 2)
    assert "Traceback" not in result.output
    said = [line.split(": ")[0] for line in result.stderr.splitlines() if line]
    if result.exit_code == 2 or "error" in said:
        assert (result.exit_code, said.count("error"), said.count("hint")) in ((1, 1, 1), (2, 1, 1))
