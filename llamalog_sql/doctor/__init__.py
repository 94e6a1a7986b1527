"""Finds what is wrong with an installation, and what one should know of it; reads only. What it finds, `repairs` puts right.

capture: tables, triggers, functions. log: the log's own tables. server: what is around it. A module of llamalog_sql.findings
has the kinds; llamalog check is the part that is quick enough for each deploy.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

import psycopg

from llamalog_sql.connection import Connection, first_row, rows
from llamalog_sql.doctor import capture, log, server
from llamalog_sql.errors import LlamaLogError, NotInstalled
from llamalog_sql.findings import Finding, worst_first

__all__ = ["EXAMINATIONS", "examine"]

#: What is looked at, by the name that a person gives it.
EXAMINATIONS: dict[str, Callable[[Connection], Iterable[Finding]]] = {
    "files, functions and triggers": capture.captures,
    "tables that are not watched": capture.tables,
    "event triggers": server.event_triggers,
    "roles": server.roles,
    "tables of the log": log.shape,
    "grants": log.grants,
    "foreign keys of the log": log.foreign_keys,
    "indexes of the log": log.indexes,
    "upkeep of the log": log.upkeep,
    "what waits": log.waiting,
    "settings": server.settings,
    "jobs": server.jobs,
    "replication": server.replication,
    "last writes": capture.last_writes,
    "versions": server.versions,
}


def examine(
    conn: Connection, *, timeout: float = 10, ignored: Collection[str] = ()
) -> list[Finding]:
    """Return the findings, worst first; of those that are information, none is a fault.

    timeout: seconds that each statement may take; what takes longer is told as not looked at, as is what the caller may not
    read.  ignored: ids, or ids with what they are about as "table-unwatched:public.sessions".

    Reads in short transactions, each read-only and undone, so that nothing waits for it for long: not even what waits for
    readers, as a month that is to be attached. Calls no function and no operator but PostgreSQL's and ours, whatever the
    search_path.

    Raises NotInstalled (LL001).
    """
    if rows(conn, "SELECT to_regclass('llamalog._yoyo_migration')") == [(None,)]:
        raise NotInstalled("llamalog is not installed in this database")
    findings = [
        found
        for name, look in EXAMINATIONS.items()
        for found in _looked(conn, name, look, timeout)
        if found.id not in ignored and f"{found.id}:{found.what}" not in ignored
    ]
    return worst_first(findings)


def _looked(
    conn: Connection,
    name: str,
    look: Callable[[Connection], Iterable[Finding]],
    timeout: float,
) -> list[Finding]:
    try:
        with conn.transaction(force_rollback=True):
            rows(
                conn,
                "SELECT set_config('transaction_read_only', 'on', true),"
                " set_config('search_path', 'pg_catalog, pg_temp', true),"
                " set_config('statement_timeout', %(wait)s, true), set_config('lock_timeout', %(wait)s, true)",
                {"wait": f"{max(1, round(timeout * 1000))}ms"},
            )
            return list(look(conn))
    except psycopg.errors.InsufficientPrivilege as error:
        return [_unseen(name, error, _grant(conn))]
    except (psycopg.errors.QueryCanceled, psycopg.errors.LockNotAvailable) as error:
        return [_unseen(name, error, "Look again, with a longer --timeout.")]
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedFunction) as error:
        # what is not there cannot be well
        problem = str(error.diag.message_primary)
        hint = "Run: llamalog migrate; a table that was dropped comes from a backup alone."
        return [Finding(name, problem, hint, "object-missing")]
    except psycopg.errors.InvalidObjectDefinition as error:
        # a view of ours was replaced by one that reads itself: no text of it is kept, all are made anew
        problem = f"not looked at: {error.diag.message_primary}"
        anew = "DELETE FROM llamalog.repeatables WHERE name LIKE 'views/%'"
        return [Finding(name, problem, "Run: llamalog doctor --fix", "function-edited", [anew])]
    except LlamaLogError as error:
        return [Finding(name, f"not looked at: {error}", error.hint or "", "not-looked-at")]


def _unseen(name: str, error: psycopg.Error, hint: str) -> Finding:
    return Finding(name, f"not looked at: {error.diag.message_primary}", hint, "not-looked-at")


def _grant(conn: Connection) -> str:
    role = first_row(conn, "SELECT quote_ident(current_user)")
    assert role is not None
    return f"GRANT SELECT ON ALL TABLES IN SCHEMA llamalog TO {role[0]}"
