"""Around the log: versions, event triggers, roles, settings that say who writes, replication."""

from __future__ import annotations

import re
from collections.abc import Iterator

import psycopg

from llamalog_sql import __version__, access, migrate
from llamalog_sql.adoption import state
from llamalog_sql.connection import Connection, owner_of_the_log, rows
from llamalog_sql.doctor.facts import member_of, several
from llamalog_sql.findings import Finding
from llamalog_sql.render import ident, literal

#: What a context consists of; that it is a job's is what must not outlive the job.
CONTEXT = (
    *("source", "user_id", "category", "operation", "reason", "triggered_by", "sources"),
    *("metadata", "job_id", "parent_job_id", "root_job_id"),
)
_OF_A_JOB = ("llamalog.job_id", "llamalog.parent_job_id", "llamalog.root_job_id")


def versions(conn: Connection) -> Iterator[Finding]:
    """What is at work, for whoever asks for help."""
    ((server, is_standby, wal_level, migration),) = rows(
        conn,
        "SELECT current_setting('server_version'), pg_is_in_recovery(), current_setting('wal_level'),"
        " (SELECT max(migration_id) FROM llamalog._yoyo_migration)",
    )
    client = f"psycopg {psycopg.__version__} with libpq {psycopg.pq.version() // 10000}"
    yield Finding(
        "versions",
        f"PostgreSQL {server}, llamalog-sql {__version__}, {client}, migrations up to {migration}",
        "",
        "versions",
    )
    yield Finding(
        "wal_level",
        f"is {wal_level}: the log {'can' if wal_level == 'logical' else 'cannot'} be replicated logically",
        "",
        "wal-level",
    )
    if is_standby:
        yield Finding(
            "this server",
            "is a standby: what is wrong is put right on the primary",
            "Connect to the primary for --fix.",
            "standby",
        )


def event_triggers(conn: Connection) -> Iterator[Finding]:
    """Whether what follows changes of tables is there, and can do its work."""
    found = {
        name: cells
        for name, *cells in rows(
            conn,
            "SELECT present.evtname::text, present.evtenabled::text, present.evtevent::text,"
            " coalesce(present.evttags, '{}'), present.evtfoid = to_regproc('llamalog.follow_schema_change'),"
            " owner.rolname::text, owner.rolsuper"
            " FROM pg_event_trigger AS present JOIN pg_roles AS owner ON owner.oid = present.evtowner"
            " WHERE present.evtname = ANY (%s)",
            [list(migrate.EVENT_TRIGGERS)],
        )
    }
    if not found:
        yield _without_event_triggers(conn)
        return
    for name, text in migrate.EVENT_TRIGGERS.items():
        if name not in found:
            yield Finding(
                f"event trigger {name}",
                "is missing: changes of tables go unfollowed",
                "Run as a superuser: llamalog migrate",
                "event-trigger-missing",
            )
            continue
        enabled, event, tags, is_ours, owner, is_superuser = found[name]
        expected = re.findall(r"'([A-Z ]+)'", text)
        if not is_ours or event not in text or sorted(tags) != sorted(expected):
            yield Finding(
                f"event trigger {name}",
                "is not the one that llamalog migrate made",
                f"Run as a superuser: DROP EVENT TRIGGER {name}, then llamalog migrate",
                "event-trigger-edited",
                [f"DROP EVENT TRIGGER {name}"],
            )
            continue
        if enabled not in "OA":
            yield Finding(
                f"event trigger {name}",
                "is disabled: changes of tables go unfollowed",
                f"Run as a superuser: ALTER EVENT TRIGGER {name} ENABLE",
                "event-trigger-disabled",
                [f"ALTER EVENT TRIGGER {name} ENABLE"],
            )
        if not is_superuser:
            yield Finding(
                f"event trigger {name}",
                f"belongs to {owner}, who is no superuser",
                f"Run as a superuser: ALTER EVENT TRIGGER {name} OWNER TO CURRENT_USER",
                "event-trigger-owner",
                [f"ALTER EVENT TRIGGER {name} OWNER TO CURRENT_USER"],
            )
    for (owner,) in rows(
        conn,
        "SELECT owner.rolname::text FROM pg_proc AS called JOIN pg_roles AS owner ON owner.oid = called.proowner"
        " WHERE called.oid = to_regproc('llamalog.follow_schema_change') AND NOT owner.rolsuper",
    ):
        yield Finding(
            "llamalog.follow_schema_change()",
            f"belongs to {owner}, who is no superuser: it may not hang captures on the tables of others",
            f"Run as a superuser: {migrate.OWN_EVENT_FUNCTION.strip()}",
            "event-trigger-owner",
            [migrate.OWN_EVENT_FUNCTION],
        )


def _without_event_triggers(conn: Connection) -> Finding:
    """Nothing is wrong where every capture stands a change of its table, or where a person has chosen one that does not."""
    fast = rows(
        conn,
        "SELECT format('%I.%I', watch.schema_name, watch.table_name) FROM llamalog.watches AS watch"
        " WHERE watch.unwatched_at IS NULL AND watch.capture <> 'tolerant' AND watch.options ->> 'capture' IS NULL"
        " ORDER BY 1",
    )
    if fast:
        return Finding(
            "event triggers",
            f"are missing, and nothing follows a change of {several([name for (name,) in fast])}",
            "Run as a superuser: llamalog migrate",
            "event-trigger-missing",
        )
    return Finding(
        "event triggers",
        "are not there: tables are captured by the tolerant capture, or as was chosen",
        "Run llamalog migrate as a superuser for the fast one, or llamalog check in each deploy.",
        "event-triggers-absent",
    )


def roles(conn: Connection) -> Iterator[Finding]:
    """Who may act as the owner of the log, or write past every grant."""
    owner = owner_of_the_log(conn)
    ((can_log_in, is_superuser),) = rows(
        conn, "SELECT rolcanlogin, rolsuper FROM pg_roles WHERE rolname = %s", [owner]
    )
    if can_log_in:
        name = ident(owner)
        yield Finding(
            f"role {owner}",
            "owns the log and can log in: who has its password changes history",
            f"ALTER ROLE {name} NOLOGIN"
            if owner == access.OWNER
            else f"Let a superuser make {access.OWNER} first where one can be had: see docs/doctor.md",
            "owner-can-log-in",
        )
    if members := [] if is_superuser else member_of(conn, owner):
        yield Finding(
            f"role {owner}",
            f"may be taken by {several(members)}: they can change the log",
            f"REVOKE {ident(owner)} FROM {', '.join(map(ident, members))}, unless they run llamalog migrate",
            "owner-members",
        )
    for member in member_of(conn, "pg_write_all_data"):
        yield Finding(
            f"role {member}",
            "may write every table (pg_write_all_data), the log too",
            f"REVOKE pg_write_all_data FROM {ident(member)}",
            "writes-all-data",
        )
    for (grantee,) in rows(
        conn,
        "SELECT CASE given.grantee WHEN 0 THEN 'PUBLIC' ELSE given.grantee::regrole::text END"
        " FROM pg_parameter_acl AS parameter CROSS JOIN LATERAL aclexplode(parameter.paracl) AS given"
        " LEFT JOIN pg_roles AS role ON role.oid = given.grantee"
        " WHERE parameter.parname = 'session_replication_role' AND given.privilege_type = 'SET'"
        " AND role.rolsuper IS NOT TRUE ORDER BY 1",
    ):
        yield Finding(
            "everybody" if grantee == "PUBLIC" else f"role {grantee}",
            "may set session_replication_role, and so write unlogged",
            f"REVOKE SET ON PARAMETER session_replication_role FROM {grantee}",
            "role-may-bypass",
        )


def settings(conn: Connection) -> Iterator[Finding]:
    """Contexts and switches that come with a role or a database, or that a session was left with."""
    known = set()
    for role, database, name, value in rows(
        conn,
        "SELECT setting.setrole::regrole::text, database.datname::text, split_part(config.pair, '=', 1),"
        " substr(config.pair, strpos(config.pair, '=') + 1)"
        " FROM pg_db_role_setting AS setting LEFT JOIN pg_database AS database ON database.oid = setting.setdatabase"
        " CROSS JOIN LATERAL unnest(setting.setconfig) AS config (pair)"
        " WHERE (setting.setdatabase = 0 OR database.datname = current_database())"
        " AND (config.pair LIKE 'llamalog.%' OR config.pair ILIKE 'session_replication_role=replica')"
        " ORDER BY 1, 2, 3",
    ):
        of_everybody = role == "-"
        whose = f"database {database}" if of_everybody else f"role {role}"
        where = "" if of_everybody or database is None else f" IN DATABASE {ident(database)}"
        altered = f"DATABASE {ident(database)}" if of_everybody else f"ROLE {role}{where}"
        reset = f"ALTER {altered} RESET {name}"
        known.add(name)
        if name.lower() == "session_replication_role":
            yield Finding(
                whose,
                "has session_replication_role = replica: it writes unlogged",
                reset,
                "role-bypasses-capture",
            )
        elif name in _OF_A_JOB:
            yield Finding(
                whose,
                f"begins every session in {name} {literal(value)}: what it writes counts as that job's",
                reset,
                "job-of-role",
            )
        else:
            yield Finding(
                whose,
                f"begins every session with {name} {literal(value)}",
                reset,
                "context-of-role",
            )
    for name in CONTEXT:
        ((value,),) = rows(
            conn, "SELECT nullif(current_setting(%s, true), '')", [f"llamalog.{name}"]
        )
        if value is not None and f"llamalog.{name}" not in known:
            yield Finding(
                "this session",
                f"began with llamalog.{name} {literal(value)}, which is not the doctor's: the server connection was left with it",
                "Use SET LOCAL or llamalog.set_context(), never SET; then restart the pooler, or: RESET ALL on its connections.",
                "context-in-session",
            )


#: Rows looked at for jobs that are not over: the newest of a week.
_RECENT = 100_000

#: So many such jobs are told.
_MOST = 10


def jobs(conn: Connection) -> Iterator[Finding]:
    """Jobs whose rows look like those of several: a context that was set for a session, and left in a pooled connection."""
    for job, transactions, hours, users, db_users, sources, is_mixed in rows(
        conn,
        f"""
        WITH
        recent AS (
            SELECT
                llamalog.working_job(log) AS job_id,
                log.txid,
                log.created_at,
                log.user_id,
                log.db_user,
                log.source
            FROM llamalog.log AS log
            WHERE log.created_at >= now() - interval '7 days'
                AND log.op IS NOT NULL
            ORDER BY log.seq DESC
            LIMIT {_RECENT}
        ),
        counted AS (
            SELECT
                recent.job_id,
                count(DISTINCT recent.txid) AS transactions,
                extract(epoch FROM max(recent.created_at) - min(recent.created_at)) / 3600 AS hours,
                count(DISTINCT recent.user_id) AS users,
                count(DISTINCT recent.db_user) AS db_users,
                count(DISTINCT recent.source) AS sources
            FROM recent
            WHERE recent.job_id NOT LIKE 'tx:%'
            GROUP BY recent.job_id
        ),
        judged AS (
            SELECT
                counted.*,
                -- a job has one user and one role; a request may write by several paths, but not for hours
                counted.transactions > 1
                    AND (counted.users > 1 OR counted.db_users > 1 OR counted.sources > 1 AND counted.hours > 1) AS is_mixed
            FROM counted
        )
        SELECT judged.*
        FROM judged
        WHERE judged.is_mixed
            OR judged.transactions >= 100 AND judged.hours > 24
        ORDER BY judged.is_mixed DESC, judged.transactions DESC, judged.job_id
        LIMIT {_MOST}
        """,
    ):
        if is_mixed:
            what = [
                f"{count} {name}"
                for count, name in ((users, "users"), (db_users, "roles"), (sources, "sources"))
                if count > 1
            ]
            yield Finding(
                f"job {job}",
                f"wrote for {' and '.join(what)}, in {transactions} transactions within {hours:.0f} hours:"
                " a context left in a pooled connection looks so",
                "Use SET LOCAL or llamalog.set_context() in a transaction, never SET; then restart the pooler.",
                "context-left-in-pool",
            )
        else:
            yield Finding(
                f"job {job}",
                f"has written for {hours:.0f} hours, in {transactions} transactions",
                "If it should be over by now, a pooled connection was left with it: restart the pooler.",
                "job-goes-on",
            )


def replication(conn: Connection) -> Iterator[Finding]:
    """What of ours is published, and whether it can be."""
    shape = state.adopted(conn)
    published: dict[str, list[str]] = {}
    for publication, table, can_be_told in rows(
        conn,
        "SELECT publication.pubname::text, class.oid::regclass::text,"
        " NOT (publication.pubupdate OR publication.pubdelete) OR class.relreplident = 'f' OR EXISTS ("
        " SELECT FROM pg_index AS key WHERE key.indrelid = class.oid AND key.indisvalid"
        " AND CASE class.relreplident WHEN 'd' THEN key.indisprimary WHEN 'i' THEN key.indisreplident ELSE false END)"
        " FROM pg_publication_tables AS member"
        " JOIN pg_publication AS publication ON publication.pubname = member.pubname"
        " JOIN pg_namespace AS namespace ON namespace.nspname = member.schemaname"
        " JOIN pg_class AS class ON class.relnamespace = namespace.oid AND class.relname = member.tablename"
        " WHERE class.relnamespace = 'llamalog'::regnamespace OR class.oid = to_regclass(%s)"
        " ORDER BY 1, 2",
        [shape.table if shape else None],
    ):
        published.setdefault(publication, []).append(table)
        if not can_be_told:
            yield Finding(
                table,
                f"is in publication {publication} without a replica identity: UPDATE and DELETE of it fail",
                f"ALTER TABLE {table} REPLICA IDENTITY FULL",
                "publication-identity",
                [f"ALTER TABLE {table} REPLICA IDENTITY FULL"],
            )
    for publication, tables in published.items():
        yield Finding(
            f"publication {publication}",
            f"carries {several(tables)}: what is archived is deleted where it goes, too",
            "",
            "published",
        )
