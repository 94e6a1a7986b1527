"""The command `llamalog`: carries questions in and rows out. Data on stdout, talk on stderr.

group: the command itself and its errors. shared: what commands share. The others hold the commands, a module a subject.
"""

from llamalog_sql.cli import (
    attention,
    demo,
    doctor,
    export,
    install,
    jobs,
    legacy,
    pause,
    questions,
    reconcile,
    report,
    revert,
    stats,
    tail,
    upkeep,
    watch,
)
from llamalog_sql.cli.group import main

__all__ = [
    "attention",
    "demo",
    "doctor",
    "export",
    "install",
    "jobs",
    "legacy",
    "main",
    "pause",
    "questions",
    "reconcile",
    "report",
    "revert",
    "stats",
    "tail",
    "upkeep",
    "watch",
]
