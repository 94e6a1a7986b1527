"""`llamalog demo`: a server of its own, the music application at work, and the story of one album."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from importlib.resources import files
from pathlib import Path

import click
import psycopg
from psycopg.conninfo import make_conninfo

from llamalog_sql import embedded, migrate, output, queries, watching
from llamalog_sql.demo.application import Application
from llamalog_sql.errors import LlamaLogError

logger = logging.getLogger(__name__)

ALBUM = "OK Computer"
TABLES = ["albums", "artists", "tracks", "album_artists", "track_artists"]


def kept_directory() -> Path:
    """Return where `--keep` leaves the database: one for each user of the machine."""
    return Path(tempfile.gettempdir()) / f"llamalog-demo-{os.getuid()}"


def run(*, keep: bool, version: int | None = None) -> None:
    """Start a server, let the application write, print the tree and the story of one album.

    keep: leave the server running, to try the commands on.  version: 18 or 16, else the default one.

    Raises ServerNotFound, ServerFailed; LlamaLogError when one is kept already.
    """
    directory = kept_directory() if keep else None
    if directory is not None and directory.exists():
        raise LlamaLogError(
            "a demonstration is kept already",
            detail=f"It is in {directory}.",
            hint="Go on asking it, or remove it first: llamalog demo --stop",
        )
    with embedded.start(version=version, keep_in=directory) as server:
        logger.info("PostgreSQL %s runs in %s", server.version, server.directory)
        dsn = _install(server.dsn)
        Application(dsn).run()
        _tell(dsn)
        if keep:
            server.detach()
            _say_what_to_try(dsn)
        else:
            output.console().print(
                "\nTo go on asking, keep the database: llamalog demo --keep",
                markup=False,
                style="dim",
            )


def stop() -> None:
    """Stop and remove what `--keep` left.  Raises LlamaLogError when there is nothing."""
    directory = kept_directory()
    if not directory.exists():
        raise LlamaLogError("no demonstration is kept", hint="Run: llamalog demo --keep")
    embedded.stop_kept(directory)
    shutil.rmtree(directory)
    logger.info("stopped and removed %s", directory)


def _install(dsn: str) -> str:
    """Make the application's database, and watch its tables; return where it is."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("CREATE DATABASE music")
    dsn = make_conninfo(dsn, dbname="music")
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(files("llamalog_sql.demo").joinpath("music_schema.sql").read_bytes())
        report = migrate.migrate(conn)
        logger.info(
            "llamalog migrate: %d migrations, %d functions and views",
            len(report.migrations),
            len(report.repeatables),
        )
        watching.watch(conn, TABLES)
        logger.info("llamalog watch %s", " ".join(TABLES))
    return dsn


def _tell(dsn: str) -> None:
    console = output.console()
    with psycopg.connect(dsn, autocommit=True) as conn:
        paths = conn.execute(
            "SELECT log.source, max(path.description), count(*)::text, string_agg(DISTINCT log.category, ', ')"
            " FROM llamalog.log AS log LEFT JOIN llamalog.source_paths AS path ON path.source = log.source"
            " GROUP BY log.source ORDER BY min(log.seq)"
        ).fetchall()
        console.print(
            "\n🦙 What the application did, and the log wrote by itself\n",
            style="bold",
            markup=False,
        )
        console.print(output.grid(["path", "", "changes", "categories"], paths))
        album = queries.resolve(conn, "ALBUM", ALBUM)
        console.print(f'\n$ llamalog tree ALBUM "{ALBUM}"\n', style="bold", markup=False)
        title = output.heading("ALBUM", album, ALBUM)
        console.print(output.tree(queries.tree(conn, "ALBUM", album), title))
        console.print(f'\n$ llamalog why ALBUM "{ALBUM}"\n', style="bold", markup=False)
        console.print(output.story(queries.why(conn, "ALBUM", album)), end="")


def _say_what_to_try(dsn: str) -> None:
    output.console().print("\nThe database is kept. Try:\n", style="bold", markup=False)
    for line in (
        f'export LLAMALOG_DSN="{dsn}"',
        "llamalog find or",
        'llamalog why ALBUM "Dirty"',
        'llamalog chain ALBUM "Rumours" --category CREATED',
        'llamalog history ARTIST "Björk" --format jsonl',
        "llamalog attention",
        "llamalog revert --job spotify-sync-2",
        f'llamalog report ALBUM "{ALBUM}" -o album.html',
        "llamalog status",
        f'{shutil.which("psql") or "psql"} "$LLAMALOG_DSN" -c "SELECT * FROM llamalog.log ORDER BY seq DESC LIMIT 5"',
        "llamalog demo --stop",
    ):
        click.echo(f"  {line}")  # whole, to be copied
