"""Where the time of one captured write goes: `make bench-profile`.

Instructions of the backend for each statement, in a transaction of its own, counted by valgrind's callgrind on a server in
single-user mode: the same on any machine, whatever else it does. Each figure is the difference between 220 and 20 statements,
so that the start of the server and the first use of everything are no part of it.

Needs valgrind, and what `make bench` needs. Names of workloads as arguments ask for these only: python bench/profile.py delete
"""

from __future__ import annotations

import argparse
import os
import pwd
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

from rich.console import Console
from rich.table import Table
from rig import Bench, numbered, prepare
from systems import systems

from llamalog_sql import embedded

FEW, MANY = 20, 220
#: What is counted, and under which systems: those that do something of their own in it.
WORKLOADS = {
    "insert": (
        "one INSERT",
        ["none", "floor", "the key alone", "llamalog", "llamalog, full image"],
    ),
    "add_album": (
        "addAlbum, 14 rows",
        ["none", "floor", "the key alone", "llamalog", "llamalog, full image"],
    ),
    "update": (
        "one UPDATE, 2 of 31 columns",
        ["none", "floor", "the key alone", "the fields told", "llamalog", "llamalog, by statement"],
    ),
    "noop": (
        "no-op UPDATE",
        ["none", "floor", "the key alone", "llamalog", "llamalog, by statement"],
    ),
    "delete": ("DELETE with 10 tracks", ["none", "floor", "the key alone", "llamalog"]),
}

#: Parts of a captured write: label, caller and callee, as PostgreSQL's functions are called; the first two hold the others.
PARTS = [
    ("triggers in all", "ExecCallTriggerFunc", "fmgr_security_definer"),
    ("  INSERT into the log", "exec_stmt_execsql", "SPI_execute_plan_with_paramlist"),
    ("    setting up the statement", "_SPI_execute_plan", "ExecutorStart"),
    ("    finding the month's partition", "ExecInsert", "ExecFindPartition"),
    ("    the indexes", "ExecInsert", "ExecInsertIndexTuples"),
    ("    ending the statement", "_SPI_execute_plan", "ExecutorEnd"),
    ("  expressions of PL/pgSQL", "", "exec_eval_expr"),
    ("    preparing them, once a transaction", "exec_eval_expr", "ExecInitExprWithParams"),
    ("  asking whether functions may be called", "ExecInitFunc", "object_aclcheck"),
]


class SingleUser:
    """A cluster of its own, whose server runs in single-user mode under callgrind."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.user = "nobody" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
        self.bin = embedded.find_binaries()
        shutil.chown(home, self.user)
        self.run("initdb", "-D", str(home / "data"), "-U", "postgres", "-A", "trust")
        with (home / "data" / "postgresql.conf").open("a") as settings:
            settings.write(
                f"fsync = off\nautovacuum = off\njit = off\nshared_buffers = 256MB\nmax_wal_size = 8GB\n"
                f"listen_addresses = ''\nunix_socket_directories = '{home}'\n"
            )

    def run(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs as a user who may."""
        subprocess.run(  # noqa: S603
            [str(self.bin / program), *arguments],
            user=self.user if os.getuid() == 0 else None,
            cwd=self.home,
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def count(self, database: str, script: str) -> dict[tuple[str, str], int]:
        """Return instructions by caller and callee, callees included; under ("", "") all."""
        found = self.home / "callgrind"
        subprocess.run(  # noqa: S603
            [
                *("valgrind", "--tool=callgrind", f"--callgrind-out-file={found}"),
                *(str(self.bin / "postgres"), "--single", "-D", str(self.home / "data"), database),
            ],
            input=script,
            text=True,
            user=self.user if os.getuid() == 0 else None,
            cwd=self.home,
            check=True,
            capture_output=True,
        )
        return _calls(found)


def _calls(file: Path) -> dict[tuple[str, str], int]:
    """Read a file of callgrind's."""
    names: dict[str, str] = {}
    calls: dict[tuple[str, str], int] = defaultdict(int)
    caller = callee = ""

    def name(text: str) -> str:
        number, _, spelled = text.strip().partition(" ")
        if spelled:
            names[number] = re.sub(r"(\.(isra|constprop)\.\d+)?('\d+)?$", "", spelled)
        return names[number]

    lines = iter(file.read_text(errors="replace").splitlines())
    for line in lines:
        if line.startswith("fn="):
            caller = name(line[3:])
        elif line.startswith("cfn="):
            callee = name(line[4:])
        elif line.startswith("calls="):
            cost = int(next(lines).split()[1])
            calls[caller, callee] += cost
            if caller != callee:
                calls["", callee] += cost
        elif line.startswith(("summary:", "totals:")):
            calls["", ""] = int(line.split()[1])
    return calls


def _script(statements: list[str], first: int, count: int) -> str:
    """Return what the server reads: each write a transaction, about another album each."""
    lines = []
    for position, statement in enumerate(statements):
        lines.append(
            f"PREPARE write_{position} (integer, integer, integer, integer) AS {numbered(statement)}"
        )
    for number in range(first, first + count):
        values = f"({number}, {random.randrange(10**9)}, {random.randrange(10**9)}, {number})"  # noqa: S311
        writes = [f"EXECUTE write_{position} {values}" for position in range(len(statements))]
        lines += ["BEGIN", *writes, "COMMIT"] if len(writes) > 1 else writes
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=", ".join(WORKLOADS))
    chosen = parser.parse_args().workloads
    if unknown := set(chosen) - set(WORKLOADS):
        parser.error(f"unknown workload {', '.join(sorted(unknown))}")
    if not shutil.which("valgrind"):
        print("error: valgrind is not installed", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="llamalog-profile-") as directory:
        server = SingleUser(Path(directory))
        server.run("pg_ctl", "-D", f"{directory}/data", "-l", f"{directory}/log", "-w", "start")
        known = {system.name: system for system in systems()}
        asked = {key: of for key, of in WORKLOADS.items() if not chosen or key in chosen}
        used = [name for name in known if any(name in names for _, names in asked.values())]
        try:
            bench = Bench(
                SimpleNamespace(dsn=f"host={directory} user=postgres dbname=postgres"),
                server.bin / "pgbench",
                albums=500,
                rounds=1,
                transactions=1,
            )
            prepare(bench, [known[name] for name in used])
        finally:
            server.run("pg_ctl", "-D", f"{directory}/data", "-w", "stop")
        for workload, (title, names) in asked.items():
            table = Table(
                f"{title}, thousands of instructions", *names, title=None, title_justify="left"
            )
            found = []
            for name in names:
                database = re.sub(r"\W+", "_", name)
                statements = getattr(known[name], workload)
                few = server.count(database, _script(statements, 1, FEW))
                many = server.count(database, _script(statements, 1 + FEW, MANY))
                found.append({key: (many[key] - few[key]) / (MANY - FEW) / 1000 for key in many})
            for label, *key in [("all of it", "", ""), *PARTS]:
                table.add_row(label, *(f"{calls.get(tuple(key), 0):,.0f}" for calls in found))
            Console(width=None if sys.stdout.isatty() else 140).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
