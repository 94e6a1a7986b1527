"""What can be wrong with an installation: the kinds of findings, how bad each is, and who may put it right."""

from __future__ import annotations

from dataclasses import dataclass, field

#: Worst first. Information is no fault: it never makes a command fail.
SEVERITIES = ("error", "warning", "information")

#: Who may put something right; each may also do what those before him may.
OWNER_OF_THE_LOG, OWNER_OF_THE_TABLE, SUPERUSER = RIGHTS = (
    "owner of the log",
    "owner of the table",
    "superuser",
)


@dataclass(frozen=True)
class Kind:
    """A kind of finding.

    severity: one of SEVERITIES.  by: who may put it right.  migrates: llamalog migrate is what does, or the last step of it.
    """

    severity: str
    by: str = OWNER_OF_THE_LOG
    migrates: bool = False


def _error(by: str = OWNER_OF_THE_LOG, *, migrates: bool = False) -> Kind:
    return Kind("error", by, migrates)


def _warning(by: str = OWNER_OF_THE_LOG, *, migrates: bool = False) -> Kind:
    return Kind("warning", by, migrates)


_INFORMATION = Kind("information")

#: By id, which monitoring filters on: an id is never renamed. docs/doctor.md has cause and remedy of each.
KINDS = {
    # what is installed
    "migration-edited": _error(),
    "migration-unknown": _error(),
    "not-applied": _error(migrates=True),
    "object-missing": _error(migrates=True),
    "function-edited": _error(migrates=True),
    "function-search-path": _error(migrates=True),
    "function-owner": _error(),
    "function-unknown": _warning(),
    "event-trigger-missing": _warning(SUPERUSER, migrates=True),
    "event-trigger-disabled": _error(SUPERUSER),
    "event-trigger-edited": _error(SUPERUSER, migrates=True),
    "event-trigger-owner": _error(SUPERUSER),
    # what is captured
    "trigger-missing": _error(OWNER_OF_THE_TABLE, migrates=True),
    "trigger-disabled": _error(OWNER_OF_THE_TABLE, migrates=True),
    "trigger-edited": _error(OWNER_OF_THE_TABLE, migrates=True),
    "trigger-demoted": _warning(OWNER_OF_THE_TABLE),
    "capture-outdated": _error(OWNER_OF_THE_TABLE, migrates=True),
    "capture-fallen-back": _warning(OWNER_OF_THE_TABLE, migrates=True),
    "capture-paused": _warning(),
    "truncate-hidden": _error(SUPERUSER),
    "truncate-unsafe": _warning(),
    "capture-cannot-read": _error(OWNER_OF_THE_TABLE, migrates=True),
    "row-security-missing": _error(migrates=True),
    "row-security-off": _warning(OWNER_OF_THE_TABLE),
    "key-missing": _warning(),
    "table-gone": _warning(migrates=True),
    "table-replaced": _error(),
    "table-unwatched": _warning(),
    "subscription-unlogged": _warning(),
    "rule-misfit": _warning(),
    "role-bypasses-capture": _error(),
    "role-may-bypass": _warning(),
    # who may do what
    "table-owner": _error(SUPERUSER),
    "log-writable": _error(),
    "default-grants": _warning(),
    "writes-all-data": _warning(),
    "capture-executable": _error(),
    "schema-open": _error(),
    "owner-can-log-in": _warning(),
    # the log
    "log-altered": _error(),
    "month-detached": _error(),
    "log-foreign-key": _error(),
    "month-missing": _warning(),
    "rows-in-default": _warning(),
    "index-invalid": _error(),
    "autovacuum-off": _warning(),
    "log-autovacuum-off": _warning(),
    "sequence-ending": _warning(),
    "publication-identity": _error(),
    "adoption-unfinished": _warning(),
    "adoption-triggers": _error(),
    "backfill-unfinished": _warning(),
    "archiving-unfinished": _warning(),
    # contexts that are nobody's
    "context-in-session": _warning(),
    "context-left-in-pool": _warning(),
    "job-of-role": _warning(),
    # facts
    "versions": _INFORMATION,
    "standby": _INFORMATION,
    "coverage": _INFORMATION,
    "table-related": _INFORMATION,
    "context-of-role": _INFORMATION,
    "job-goes-on": _INFORMATION,
    "owner-members": _INFORMATION,
    "event-triggers-absent": _INFORMATION,
    "wal-level": _INFORMATION,
    "published": _INFORMATION,
    "rows-out-of-range": _INFORMATION,
    "room-not-given-back": _INFORMATION,
    "log-bloat": _INFORMATION,
    "not-looked-at": _INFORMATION,
    "last-write": _INFORMATION,
}


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be, or that a person should know.

    what: the table or object.  hint: what to do.  id, severity: see KINDS.
    fix: the SQL that `llamalog doctor --fix` runs for it, before llamalog migrate where that puts it right.
    """

    what: str
    problem: str
    hint: str
    id: str
    severity: str = field(init=False)
    fix: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        object.__setattr__(self, "severity", KINDS[self.id].severity)

    @property
    def is_fault(self) -> bool:
        return self.severity != "information"

    @property
    def is_fixable(self) -> bool:
        """Whether `llamalog doctor --fix` puts it right."""
        return bool(self.fix) or KINDS[self.id].migrates


def worst_first(findings: list[Finding]) -> list[Finding]:
    """Return the findings by severity, those of a kind together, in the order of KINDS."""
    kinds = list(KINDS)
    return sorted(
        findings, key=lambda found: (SEVERITIES.index(found.severity), kinds.index(found.id))
    )
