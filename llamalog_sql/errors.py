"""One class for each thing that goes wrong; its docstring says what. SQL raises, this module names, cli prints."""

from __future__ import annotations

import re
from typing import ClassVar

import psycopg

from llamalog_sql.connection_string import without_password


class LlamaLogError(Exception):
    """Something that the caller can be told in one line.

    sqlstate: five characters, one of docs/errors.md.  detail: what was seen.  hint: a sentence saying what to do.
    """

    #: Unless it says otherwise, an error is of something outside of the database.
    code: ClassVar[str] = "58000"
    advice: ClassVar[str | None] = None

    def __init__(
        self,
        message: str,
        *,
        sqlstate: str | None = None,
        detail: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate or self.code
        self.detail = detail
        self.hint = hint or self.advice


class NotInstalled(LlamaLogError):
    """LlamaLog is not installed in the database, or only half."""

    code = "LL001"
    advice = "Run: llamalog migrate"


class NotWatched(LlamaLogError):
    """The table is not watched."""

    code = "LL002"


class UnknownEntityType(LlamaLogError):
    """No table was ever watched as that type."""

    code = "LL003"


class UnknownEntity(LlamaLogError):
    """Neither the table nor the log knows an entity of that id or title."""

    code = "LL004"


class AmbiguousTitle(LlamaLogError):
    """Several entities have that title."""

    code = "LL005"


class BadCursor(LlamaLogError):
    """The cursor is malformed, or belongs to another question."""

    code = "LL006"


class TruncateNeedsReadCommitted(LlamaLogError):
    """TRUNCATE of a watched table above READ COMMITTED would lose rows unseen."""

    code = "LL007"


class TruncateRefused(LlamaLogError):
    """The table is watched with on_truncate = refuse, or to log it could run a function of somebody else."""

    code = "LL008"


class CannotWatch(LlamaLogError):
    """The relation cannot be watched as it is."""

    code = "LL009"


class EntityTypeTaken(LlamaLogError):
    """Another table is watched under that entity type."""

    code = "LL010"


class CannotAdopt(LlamaLogError):
    """The table cannot become the log as it is."""

    code = "LL015"


class NotKnown(LlamaLogError):
    """What a row was at that instant, the log cannot know."""

    code = "LL016"


class UnknownJob(LlamaLogError):
    """No job of that id was recorded, and no change in the log names it."""

    code = "LL017"


class UnknownChange(LlamaLogError):
    """The log has no change of that seq."""

    code = "LL018"


class CannotRevert(LlamaLogError):
    """The change is none of a row, or its row cannot be told from others."""

    code = "LL019"


class RevertConflict(LlamaLogError):
    """Later writers are in the way of the revert."""

    code = "LL020"


class RevertReferences(LlamaLogError):
    """Foreign keys are in the way of the revert."""

    code = "LL021"


class RevertIncomplete(LlamaLogError):
    """Not all can be brought back: values were redacted, columns dropped, or no UPDATE can set them."""

    code = "LL022"


class RevertHindered(LlamaLogError):
    """A write of the revert did not reach its row."""

    code = "LL023"


class AlreadyPaused(LlamaLogError):
    """Capture of the table is paused already."""

    code = "LL024"


class NotPaused(LlamaLogError):
    """Capture of the table is not paused."""

    code = "LL025"


class RevertTaken(LlamaLogError):
    """Another row has a key or a unique value that the revert would bring back."""

    code = "LL026"


class ChangesHidden(LlamaLogError):
    """Row security hides what an entity was before its key changed."""

    code = "LL027"


class RevertUnseen(LlamaLogError):
    """Row security may hide rows that foreign keys would change with the revert."""

    code = "LL028"


class MigrationFailed(LlamaLogError):
    """A file of the installation failed; nothing of it was kept."""


class MigrationEdited(LlamaLogError):
    """A migration was edited after it had been applied."""

    code = "LL011"
    advice = "Restore the file; make the change in a new migration."


class ServerTooOld(LlamaLogError):
    """The server is older than PostgreSQL 15."""

    code = "LL012"
    advice = "Upgrade the server to PostgreSQL 15 or newer."


class LogNotEmpty(LlamaLogError):
    """Rolling back would erase the log."""

    code = "LL013"


class NewerInstalled(LlamaLogError):
    """The database was migrated by a newer version."""

    code = "LL014"
    advice = "Upgrade llamalog-sql."


class Unreachable(LlamaLogError):
    """No connection to the server."""

    code = "08001"
    advice = (
        "Check --dsn, LLAMALOG_DSN, DATABASE_URL or the PG* variables, and that the server runs."
    )


class Misuse(LlamaLogError):
    """The request contradicts itself or cannot be read."""

    code = "22023"


_BY_SQLSTATE: dict[str, type[LlamaLogError]] = {
    error.code: error
    for error in LlamaLogError.__subclasses__()
    if error.code.startswith("LL") or error is Misuse
}

#: What is refused, where it is something of ours.
_OURS = re.compile(
    r"\b(_yoyo_migration|repeatables|watches|llamalog|llama_logs\w*|archived_months|attention_rules|jobs|maintain|pause|resume"
    r"|view (?:log|last_writes))\b"
)
#: What an administrator may, and a reader may not.
_ADMINISTRATION = re.compile(r"\bfunction (maintain|pause|resume)\b")

_ADVICE = {
    "22021": "The encoding SQL_ASCII lets any bytes in, and these are no text in UTF-8:"
    " mend the value, or read it with psql under \\encoding SQL_ASCII.",
    "25006": "The server or the session is read-only: connect to the primary.",
    "40001": "Somebody else has written at the same time: try again.",
    "40P01": "Somebody else has written at the same time: try again.",
    "42501": "Connect as the owner of the table, or ask for the privilege.",
    "55P03": "Something else holds the lock: see pg_stat_activity, then try again.",
    "57014": "The statement was cancelled, perhaps by statement_timeout.",
}


def translate(error: psycopg.Error) -> LlamaLogError:
    """Return the error of this module that says what `error`, raised by psycopg or the server, says."""
    diagnosis = error.diag
    message = diagnosis.message_primary or without_password(str(error).strip())
    sqlstate = error.sqlstate
    if sqlstate in _BY_SQLSTATE:
        return _BY_SQLSTATE[sqlstate](
            message, detail=diagnosis.message_detail, hint=diagnosis.message_hint
        )
    if sqlstate is None and isinstance(error, psycopg.OperationalError):
        return Unreachable(message)
    if sqlstate in {"42P01", "42883", "3F000", "42704"} and "llamalog" in message:
        return NotInstalled(
            "llamalog is not installed in this database, or only half", detail=message
        )
    advice = _ADVICE.get(sqlstate or "")
    if sqlstate == "42501" and _OURS.search(message):
        grant = (
            "or have somebody run: GRANT llamalog_admin TO you"
            if _ADMINISTRATION.search(message)
            else "to read, have somebody run: GRANT llamalog_reader TO you"
        )
        advice = f"Connect as the role that installed llamalog; {grant}"
    return LlamaLogError(
        message,
        sqlstate=sqlstate,
        detail=diagnosis.message_detail,
        hint=diagnosis.message_hint or advice,
    )
