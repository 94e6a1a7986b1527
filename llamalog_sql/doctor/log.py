"""The log itself: who may change it, whether it is whole, and whether it will go on."""

from __future__ import annotations

from collections.abc import Iterator

from llamalog_sql.adoption import state
from llamalog_sql.connection import Connection, owner_of_the_log, rows
from llamalog_sql.doctor.facts import keeper, log_tables, several
from llamalog_sql.findings import Finding

#: What deleting an application's row would do to the log, by pg_constraint.confdeltype.
_ON_DELETE = {
    "c": "deletes its history",
    "n": "makes its history forget what it was of",
    "d": "makes its history forget what it was of",
    "a": "fails once it has history",
    "r": "fails once it has history",
}

#: Tables that a person declares things in; to write the others is to forge.
_DECLARED = ["source_paths", "attention_rules", "category_rules"]


def foreign_keys(conn: Connection) -> Iterator[Finding]:
    """References from the log to the application: they erase history, or fail the writes that make it."""
    tables = log_tables(conn)
    for table, name, target, on_delete in rows(
        conn,
        "SELECT key.conrelid::regclass::text, format('%%I', key.conname), key.confrelid::regclass::text, key.confdeltype::text"
        " FROM pg_constraint AS key WHERE key.contype = 'f' AND key.conparentid = 0"
        " AND key.conrelid = ANY (%(tables)s) AND key.confrelid <> ALL (%(tables)s) ORDER BY 1, 2",
        {"tables": tables},
    ):
        yield Finding(
            table,
            f"refers to {target} by {name}: to delete a row there {_ON_DELETE[on_delete]}",
            f"ALTER TABLE {table} DROP CONSTRAINT {name}",
            "log-foreign-key",
        )


def shape(conn: Connection) -> Iterator[Finding]:
    """What somebody has taken from the tables of the log, or hung on them: rows are lost or hidden by it."""
    owner = keeper(conn)
    if (of_schema := owner_of_the_log(conn)) != owner:
        change = f"ALTER SCHEMA llamalog OWNER TO {_identified(conn, owner)}"
        yield Finding(
            "schema llamalog",
            f"belongs to {of_schema}, not to {owner} as its tables",
            change,
            "table-owner",
            [change],
        )
    for kind, name, its_owner in rows(
        conn,
        "SELECT CASE class.relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END, class.oid::regclass::text,"
        " pg_get_userbyid(class.relowner)::text FROM pg_class AS class WHERE class.relkind IN ('r', 'p', 'v')"
        " AND class.relnamespace = 'llamalog'::regnamespace AND pg_get_userbyid(class.relowner) <> %s ORDER BY 2",
        [owner],
    ):
        change = f"ALTER {kind} {name} OWNER TO {_identified(conn, owner)}"
        yield Finding(
            name, f"belongs to {its_owner}, not to {owner}", change, "table-owner", [change]
        )
    for name, problem, undone in rows(
        conn,
        """
        WITH log AS (
            SELECT class.oid, class.oid::regclass::text AS name, class.relname, class.relrowsecurity, class.relpersistence
            FROM pg_class AS class
            WHERE class.oid = ANY (%s)
        )
        SELECT
            log.name,
            format('has trigger %%I, which is none of ours', hung.tgname),
            format('DROP TRIGGER %%I ON %%s', hung.tgname, log.name)
        FROM log
        JOIN pg_trigger AS hung
            ON hung.tgrelid = log.oid
            AND NOT hung.tgisinternal
            AND hung.tgparentid = 0
        JOIN pg_proc AS called
            ON called.oid = hung.tgfoid
            AND called.pronamespace <> 'llamalog'::regnamespace
        UNION ALL
        SELECT
            log.name,
            format('has rule %%I, which is none of ours', rule.rulename),
            format('DROP RULE %%I ON %%s', rule.rulename, log.name)
        FROM log
        JOIN pg_rewrite AS rule
            ON rule.ev_class = log.oid
        UNION ALL
        SELECT log.name, 'has row security', format('ALTER TABLE %%s DISABLE ROW LEVEL SECURITY', log.name)
        FROM log
        WHERE log.relrowsecurity
            -- nobody asked for it
            AND NOT EXISTS (
                SELECT
                FROM llamalog.watches AS watch
                WHERE watch.options @> '{"row_security": true}'
            )
        UNION ALL
        SELECT log.name, 'is unlogged', format('ALTER TABLE %%s SET LOGGED', log.name)
        FROM log
        WHERE log.relpersistence = 'u'
            -- what the tolerant capture keeps for itself
            AND log.relname <> 'row_queries'
        ORDER BY 1, 2
        """,
        [log_tables(conn)],
    ):
        yield Finding(name, f"{problem}: rows of it may be lost or hidden", undone, "log-altered")
    for name, start, end in rows(
        conn,
        "SELECT class.oid::regclass::text, month.day::text, (month.day + interval '1 month')::date::text"
        " FROM pg_class AS class"
        " CROSS JOIN LATERAL (SELECT to_date(right(class.relname, 7), 'YYYY_MM') AS day) AS month"
        " WHERE class.relnamespace = 'llamalog'::regnamespace AND class.relkind = 'r' AND NOT class.relispartition"
        " AND class.relname ~ '^llama_logs_\\d{4}_(0[1-9]|1[0-2])$' ORDER BY 1",
    ):
        yield Finding(
            name,
            "is no partition of the log: no question finds its rows",
            f"ALTER TABLE llamalog.llama_logs ATTACH PARTITION {name}"
            f" FOR VALUES FROM ('{start} 00:00+00') TO ('{end} 00:00+00')",
            "month-detached",
        )


def grants(conn: Connection) -> Iterator[Finding]:
    """Rights by which somebody else than the owner of the log could change or forge it."""
    for grantee, privileges, tables, revokes in rows(
        conn,
        """
        WITH
        held AS (
            SELECT class.oid, class.relname, class.relowner, given.grantee, given.privilege_type
            FROM pg_class AS class
            CROSS JOIN LATERAL aclexplode(class.relacl) AS given
            WHERE class.relnamespace = 'llamalog'::regnamespace
                AND class.relkind IN ('r', 'p', 'v')
            UNION
            SELECT class.oid, class.relname, class.relowner, given.grantee, given.privilege_type
            FROM pg_class AS class
            JOIN pg_attribute AS attribute
                ON attribute.attrelid = class.oid
            CROSS JOIN LATERAL aclexplode(attribute.attacl) AS given
            WHERE class.relnamespace = 'llamalog'::regnamespace
                AND class.relkind IN ('r', 'p', 'v')
        ),
        too_much AS (
            SELECT
                held.grantee,
                held.oid::regclass::text AS name,
                held.relname !~ '^llama_logs' AS is_minor,
                array_agg(held.privilege_type ORDER BY held.privilege_type) AS privileges
            FROM held
            LEFT JOIN pg_roles AS role
                ON role.oid = held.grantee
            WHERE held.grantee <> held.relowner
                AND role.rolsuper IS NOT TRUE
                AND CASE
                    -- rows of its own are the application's right
                    WHEN held.privilege_type = 'INSERT' THEN
                        held.relname !~ '^(llama_logs(_.*)?|jobs|backfill_rows)$' AND held.relname <> ALL (%(declared)s)
                    WHEN held.privilege_type IN ('UPDATE', 'DELETE') THEN held.relname <> ALL (%(declared)s)
                    ELSE held.privilege_type IN ('TRUNCATE', 'TRIGGER')
                END
            GROUP BY held.grantee, held.oid, held.relname
        ),
        alike AS (
            SELECT
                too_much.grantee,
                CASE too_much.grantee WHEN 0 THEN 'PUBLIC' ELSE too_much.grantee::regrole::text END AS name,
                too_much.privileges,
                too_much.is_minor,
                array_agg(too_much.name ORDER BY too_much.name) AS tables
            FROM too_much
            GROUP BY too_much.grantee, too_much.privileges, too_much.is_minor
        )
        SELECT
            alike.name,
            ARRAY(
                SELECT DISTINCT every.privilege
                FROM alike AS other
                CROSS JOIN unnest(other.privileges) AS every (privilege)
                WHERE other.grantee = alike.grantee
                ORDER BY every.privilege
            ),
            ARRAY(
                SELECT every.name
                FROM alike AS other
                CROSS JOIN unnest(other.tables) AS every (name)
                WHERE other.grantee = alike.grantee
                ORDER BY other.is_minor, every.name
            ),
            array_agg(
                format(
                    'REVOKE %%s ON %%s FROM %%s',
                    array_to_string(alike.privileges, ', '), array_to_string(alike.tables, ', '), alike.name
                )
                ORDER BY alike.is_minor, alike.privileges
            )
        FROM alike
        GROUP BY alike.grantee, alike.name
        ORDER BY alike.name
        """,
        {"declared": _DECLARED},
    ):
        yield Finding(
            _who(grantee),
            f"has {', '.join(privileges)} on {several(tables)}",
            "; ".join(revokes),
            "log-writable",
            revokes,
        )
    for grantee, privileges, where in rows(
        conn,
        "SELECT CASE given.grantee WHEN 0 THEN 'PUBLIC' ELSE given.grantee::regrole::text END,"
        " string_agg(given.privilege_type, ', ' ORDER BY given.privilege_type),"
        " CASE WHEN acl.defaclnamespace <> 0 THEN ' IN SCHEMA llamalog' ELSE '' END"
        " FROM pg_default_acl AS acl CROSS JOIN LATERAL aclexplode(acl.defaclacl) AS given"
        " WHERE acl.defaclobjtype = 'r' AND acl.defaclnamespace IN (0, 'llamalog'::regnamespace)"
        " AND acl.defaclrole = (SELECT nspowner FROM pg_namespace WHERE nspname = 'llamalog')"
        " AND given.grantee <> acl.defaclrole AND given.privilege_type IN ('UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER')"
        " GROUP BY 1, 3 ORDER BY 1, 3",
    ):
        owner = _identified(conn, owner_of_the_log(conn))
        revoke = f"ALTER DEFAULT PRIVILEGES FOR ROLE {owner}{where} REVOKE {privileges} ON TABLES FROM {grantee}"
        yield Finding(
            _who(grantee),
            f"will be granted {privileges} on each month that is made",
            revoke,
            "default-grants",
            [revoke],
        )
    for (grantee,) in rows(
        conn,
        "SELECT CASE given.grantee WHEN 0 THEN 'PUBLIC' ELSE given.grantee::regrole::text END"
        " FROM pg_namespace AS namespace CROSS JOIN LATERAL aclexplode(namespace.nspacl) AS given"
        " LEFT JOIN pg_roles AS role ON role.oid = given.grantee"
        " WHERE namespace.nspname = 'llamalog' AND given.privilege_type = 'CREATE'"
        " AND given.grantee <> namespace.nspowner AND role.rolsuper IS NOT TRUE ORDER BY 1",
    ):
        revoke = f"REVOKE CREATE ON SCHEMA llamalog FROM {grantee}"
        yield Finding(
            _who(grantee),
            "may create objects in schema llamalog",
            revoke,
            "schema-open",
            [revoke],
        )
    yield from _executable(conn)


def _executable(conn: Connection) -> Iterator[Finding]:
    """Who may hang a capture on a table of his own, and so forge the log; or lock it, by maintain()."""
    for grantee, functions in rows(
        conn,
        """
        SELECT
            CASE given.grantee WHEN 0 THEN 'PUBLIC' ELSE given.grantee::regrole::text END,
            array_agg(function.oid::regprocedure::text ORDER BY function.proname)
        FROM pg_proc AS function
        CROSS JOIN LATERAL aclexplode(coalesce(function.proacl, acldefault('f', function.proowner))) AS given
        LEFT JOIN pg_roles AS role
            ON role.oid = given.grantee
        WHERE function.pronamespace = 'llamalog'::regnamespace
            AND given.grantee <> function.proowner
            AND role.rolsuper IS NOT TRUE
            -- what fills an adopted log captures nothing
            AND function.proname NOT IN ('fill_adopted', 'refill_adopted')
            AND CASE
                WHEN function.prorettype = 'event_trigger'::regtype OR function.proname = 'maintain' THEN given.grantee = 0
                -- the owner of a captured table is asked for it when he adds a partition
                WHEN function.prorettype = 'trigger'::regtype THEN
                    NOT EXISTS (
                        SELECT
                        FROM pg_trigger AS hung
                        JOIN pg_class AS class
                            ON class.oid = hung.tgrelid
                        JOIN pg_proc AS called
                            ON called.oid = hung.tgfoid
                        WHERE called.pronamespace = function.pronamespace
                            AND class.relowner = given.grantee
                    )
                ELSE false
            END
        GROUP BY given.grantee
        ORDER BY 1
        """,
    ):
        revoke = f"REVOKE EXECUTE ON FUNCTION {', '.join(functions)} FROM {grantee}"
        yield Finding(
            _who(grantee),
            f"may execute {several(functions)}, which is for the owners of captured tables",
            revoke,
            "capture-executable",
            [revoke],
        )


def _who(grantee: str) -> str:
    return "everybody" if grantee == "PUBLIC" else f"role {grantee}"


def _identified(conn: Connection, role: str) -> str:
    ((name,),) = rows(conn, "SELECT quote_ident(%s)", [role])
    return str(name)


def indexes(conn: Connection) -> Iterator[Finding]:
    """Indexes that no question can use, while every write may still pay for them."""
    for name, table, is_ours, is_left_over in rows(
        conn,
        "SELECT index.indexrelid::regclass::text, index.indrelid::regclass::text,"
        " NOT class.relispartition OR EXISTS (SELECT FROM pg_inherits WHERE inhrelid = index.indexrelid)"
        " OR named.relkind = 'I', named.relname ~ '_cc(new|old)\\d*$'"
        " FROM pg_index AS index JOIN pg_class AS class ON class.oid = index.indrelid"
        " JOIN pg_class AS named ON named.oid = index.indexrelid"
        " WHERE NOT index.indisvalid AND index.indrelid = ANY (%s)"
        # not one that is being built
        " AND index.indexrelid NOT IN (SELECT index_relid FROM pg_stat_progress_create_index)"
        " ORDER BY 1",
        [log_tables(conn)],
    ):
        mended = f"REINDEX INDEX CONCURRENTLY {name}"
        is_mended = is_ours and not is_left_over
        yield Finding(
            name,
            f"on {table} is invalid: no question uses it",
            mended if is_mended else f"DROP INDEX CONCURRENTLY {name}",
            "index-invalid",
            [mended] if is_mended else [],
        )


def upkeep(conn: Connection) -> Iterator[Finding]:
    """Whether the log is vacuumed, how much of it is dead, and whether its numbers will last."""
    tables = log_tables(conn)
    if rows(conn, "SELECT FROM pg_settings WHERE name = 'autovacuum' AND setting = 'off'"):
        yield Finding(
            "autovacuum",
            "is off on this server: the log is neither vacuumed nor analysed",
            "ALTER SYSTEM SET autovacuum = on; SELECT pg_reload_conf()",
            "autovacuum-off",
        )
    for name, is_ours in rows(
        conn,
        "SELECT class.oid::regclass::text, class.relnamespace = 'llamalog'::regnamespace FROM pg_class AS class"
        " WHERE class.oid = ANY (%s) AND EXISTS (SELECT FROM pg_options_to_table(class.reloptions) AS option"
        " WHERE option.option_name = 'autovacuum_enabled' AND NOT option.option_value::boolean) ORDER BY class.oid",
        [tables],
    ):
        reset = f"ALTER TABLE {name} RESET (autovacuum_enabled)"
        yield Finding(
            name, "has autovacuum off", reset, "log-autovacuum-off", [reset] if is_ours else []
        )
    for name, dead, live in rows(
        conn,
        "SELECT relid::regclass::text, n_dead_tup, n_live_tup FROM pg_stat_all_tables"
        " WHERE relid = ANY (%s) AND n_dead_tup > 10000 AND n_dead_tup > n_live_tup / 5 ORDER BY n_dead_tup DESC",
        [tables],
    ):
        yield Finding(
            name,
            f"has {dead:,} dead rows beside {live:,}",
            f"VACUUM (ANALYZE) {name}",
            "log-bloat",
        )
    for name, used in rows(
        conn,
        "SELECT format('%%I.%%I', sequence.schemaname, sequence.sequencename),"
        " round(100.0 * sequence.last_value / sequence.max_value) FROM pg_sequences AS sequence"
        " JOIN pg_depend AS owned ON owned.classid = 'pg_class'::regclass AND owned.deptype IN ('a', 'i')"
        " AND owned.objid = to_regclass(format('%%I.%%I', sequence.schemaname, sequence.sequencename))"
        " AND owned.refclassid = 'pg_class'::regclass AND owned.refobjid = ANY (%s)"
        " WHERE sequence.last_value > 0.75 * sequence.max_value ORDER BY 1",
        [tables],
    ):
        yield Finding(
            name,
            f"has given out {used}% of its numbers: at the end every write fails",
            f"ALTER SEQUENCE {name} AS bigint, and its column too",
            "sequence-ending",
        )


def waiting(conn: Connection) -> Iterator[Finding]:
    """What was begun and not finished, and rows that have no place but DEFAULT."""
    own = "llamalog.llama_logs_default"
    if state.adopted(conn) is None:
        ((count, first, last),) = rows(
            conn,
            "SELECT count(*), min(odd.created_at)::text, max(odd.created_at)::text"
            f" FROM (SELECT waiting.created_at FROM {own} AS waiting, date_trunc('month', now(), 'UTC') AS this (month)"
            " WHERE waiting.created_at < this.month - interval '10 years'"
            " OR waiting.created_at >= this.month + interval '4 months' LIMIT 10000) AS odd",
        )
        if count:
            yield Finding(
                own,
                f"holds {'over ' if count == 10_000 else ''}{count:,} rows of times that get no month, {first} to {last}: they stay there",
                f"SELECT * FROM {own}",
                "rows-out-of-range",
            )
    for month, began, file in rows(
        conn,
        "SELECT to_char(archived.month, 'YYYY-MM'), to_char(archived.began_at, 'YYYY-MM-DD HH24:MI'), archived.file"
        " FROM llamalog.archived_months AS archived WHERE archived.archived_at IS NULL"
        # not while it is at work
        " AND NOT EXISTS (SELECT FROM pg_locks AS held WHERE held.locktype = 'advisory' AND held.objsubid = 1"
        " AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        " AND (held.classid::bigint << 32 | held.objid::bigint) = hashtext('llamalog.maintain'))"
        " ORDER BY archived.id",
    ):
        yield Finding(
            month,
            f"began to be archived at {began}{f' to {file}' if file else ''}, and is not: all its rows are in the log",
            "Run the same again: llamalog maintain --keep PERIOD --archive DIR",
            "archiving-unfinished",
        )
    for (partition,) in rows(
        conn,
        "SELECT DISTINCT archived.partition FROM llamalog.archived_months AS archived"
        " WHERE archived.archived_at IS NOT NULL AND archived.compacted_at IS NULL"
        " AND to_regclass(archived.partition) IS NOT NULL ORDER BY 1",
    ):
        yield Finding(
            partition,
            "has not given back the room of what was archived",
            "The next llamalog maintain --keep does it.",
            "room-not-given-back",
        )
