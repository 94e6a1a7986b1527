"""A story as a W3C PROV document (PROV-DM, written as PROV-JSON).

What becomes what, docs/export.md says. Identifiers are qualified names: type and id percent-encoded, so that any text is one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from llamalog_sql.connection import Connection
from llamalog_sql.errors import LlamaLogError, Misuse
from llamalog_sql.export import rows
from llamalog_sql.output import as_json
from llamalog_sql.queries import Change

if TYPE_CHECKING:
    from prov.identifier import QualifiedName
    from prov.model import ProvDocument

#: Namespaces, each below that of the database.
_KINDS = ("entity", "version", "job", "attempt", "user", "role", "source")

#: Statuses of a row that the application wrote itself which say that something was done.
_DONE = {"SUCCESS", "COMPLETED", "PARTIAL_SUCCESS"}

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]*")

_REMOVED = {"DELETED", "TRUNCATED", "UNLINKED"}


def require_library() -> None:
    """Raise LlamaLogError where the library prov is not installed."""
    _library()


def document(
    conn: Connection, changes: Sequence[Change], *, base: str | None = None
) -> ProvDocument:
    """Return what made the entities of these changes, given by seq, as a PROV document.

    base: what every identifier begins with; by default urn:llamalog: and the name of the database.

    Raises LlamaLogError where the library prov is not installed, Misuse (22023) where base is no URI.
    """
    if base is not None and not _URI.fullmatch(base):
        raise Misuse(
            f'"{base}" is no URI',
            hint="Identifiers begin with it: give one as urn:example: or https://example.org/",
        )
    story = _Story(base or f"urn:llamalog:{_encoded(conn.info.dbname)}:")
    by_job: dict[str, list[Change]] = {}
    for change in changes:
        if job_id := rows.job_of(change):
            by_job.setdefault(job_id, []).append(change)
    for job in rows.jobs(conn, list(by_job)).values():
        story.tell_job(job, by_job.get(job.job_id, []))
    for change in changes:
        story.tell(change)
    told: ProvDocument = story.document
    return told


class _Story:
    """A document in the making."""

    def __init__(self, base: str) -> None:
        self.document = _library().ProvDocument()
        self._names = {kind: self.document.add_namespace(kind, f"{base}{kind}/") for kind in _KINDS}
        self._ours = self.document.add_namespace("llamalog", "urn:llamalog:vocabulary#")
        self._told: set[QualifiedName] = set()
        self._versions: dict[tuple[str, ...], list[tuple[QualifiedName, Change]]] = {}

    def tell_job(self, job: rows.Job, changes: Sequence[Change]) -> None:
        """Tell of an activity: when it ran, for whom, by which plan, and which one caused it."""
        times = [change.created_at for change in changes]
        began = min([*times, job.started_at] if job.started_at else times, default=None)
        # that a job has ended, nobody says: its last change is when it was last seen at work
        name = self._name("job", job.job_id)
        self.document.activity(
            name, began, max(times, default=None), self._attributes(label=job.job_id)
        )
        self._told.add(name)
        plan = self._plan(job.source)
        agents = {self._agent(change) for change in changes}
        agents.add(self._person(job.user_id))
        agents = {agent for agent in agents if agent is not None} or {None}
        for agent in sorted(agents, key=str):
            if agent or plan:
                self.document.wasAssociatedWith(name, agent, plan)
        if job.parent_job_id:
            self.document.wasInformedBy(name, self._name("job", job.parent_job_id))

    def tell(self, change: Change) -> None:
        """Tell of a change: a version that came and one that went; or of an attempt that changed nothing."""
        job = rows.job_of(change)
        activity = self._name("job", job) if job else None
        if change.op is None and (change.status not in _DONE or change.category == "FAILED"):
            self._tell_attempt(change, activity)
        elif change.entity_type is not None and change.entity_id is not None:
            self._tell_version(change, activity)

    def _tell_attempt(self, change: Change, activity: QualifiedName | None) -> None:
        name = self._name("attempt", str(change.seq), change.id)
        self.document.activity(
            name, change.created_at, change.created_at, self._facts(change, label=change.operation)
        )
        if activity:
            self.document.wasInformedBy(name, activity)
        agent, plan = self._agent(change), self._plan(change.source)
        if agent or plan:
            self.document.wasAssociatedWith(name, agent, plan)
        if change.entity_type is not None and change.entity_id is not None:
            self.document.used(name, self._entity(change.entity_type, change.entity_id))

    def _tell_version(self, change: Change, activity: QualifiedName | None) -> None:
        assert change.entity_type is not None
        assert change.entity_id is not None
        key = _key(change, change.entity_id)
        entity = self._entity(*key)
        known = self._versions.setdefault(key, [])
        if change.previous_id is not None:
            # under its former key it was the same
            former = _key(change, change.previous_id)
            known.extend(self._versions.pop(former, []))
            self.document.alternateOf(entity, self._entity(*former))
        if change.category in _REMOVED:
            if known:
                gone, _ = known.pop(_which(known, change))
                self.document.wasInvalidatedBy(gone, activity, change.created_at)
            if not known:
                self.document.wasInvalidatedBy(
                    entity, activity, change.created_at, None, self._facts(change)
                )
            return
        name = self._name("version", str(change.seq), change.id)
        self.document.entity(name, self._facts(change, label=f"{'/'.join(key)} {change.category}"))
        self.document.specializationOf(name, entity)
        self.document.wasGeneratedBy(name, activity, change.created_at)
        agent = self._agent(change)
        if agent:
            self.document.wasAttributedTo(name, agent)
        if known and change.link_type is None:
            before, _ = known.pop()
            self.document.wasDerivedFrom(name, before, activity)
            self.document.wasInvalidatedBy(before, activity, change.created_at)
        known.append((name, change))

    def _entity(self, *key: str) -> QualifiedName:
        name = self._name("entity", *key)
        if name not in self._told:
            self._told.add(name)
            self.document.entity(name, self._attributes(label="/".join(key), type=key[0]))
        return name

    def _agent(self, change: Change) -> QualifiedName | None:
        """Return who is answerable: the user that the application claims, else the role of the database."""
        return self._person(change.user_id) or self._told_agent("role", change.db_user)

    def _person(self, user_id: str | None) -> QualifiedName | None:
        return self._told_agent("user", user_id)

    def _told_agent(self, kind: str, name_of: str | None) -> QualifiedName | None:
        if not name_of:
            return None
        name = self._name(kind, name_of)
        if name not in self._told:
            self._told.add(name)
            self.document.agent(name, self._attributes(label=name_of, kind=kind))
        return name

    def _plan(self, source: str | None) -> QualifiedName | None:
        if not source:
            return None
        name = self._name("source", source)
        if name not in self._told:
            self._told.add(name)
            plan = _library().PROV["Plan"]
            self.document.entity(name, {"prov:type": plan, "prov:label": source})
        return name

    def _facts(self, change: Change, label: str | None = None) -> dict[Any, Any]:
        return self._attributes(
            label=label,
            # no int: that has 32 bits in PROV
            seq=_library().Literal(change.seq, _library().XSD["long"]),
            category=change.category,
            operation=change.operation,
            status=change.status,
            reason=change.reason,
            error_code=change.error_code,
            error_message=change.error_message,
            fields=", ".join(change.fields_enriched or []),
            sources=", ".join(change.sources or []),
            db_user=change.db_user,
            before=None if change.before is None else as_json(change.before),
            after=None if change.after is None else as_json(change.after),
        )

    def _attributes(self, label: str | None = None, **facts: Any) -> dict[Any, Any]:
        told = {self._ours[name]: value for name, value in facts.items() if value not in (None, "")}
        return {"prov:label": label, **told} if label else told

    def _name(self, kind: str, *parts: str) -> QualifiedName:
        name: QualifiedName = self._names[kind]["/".join(map(_encoded, parts))]
        return name


def _key(change: Change, entity_id: str) -> tuple[str, ...]:
    """Return what names an entity; a link is named by both its ends."""
    if change.link_type is None:
        return (str(change.entity_type), entity_id)
    return (change.link_type, entity_id, str(change.related_id))


def _which(known: Sequence[tuple[QualifiedName, Change]], change: Change) -> int:
    """Return which version is removed: of several links between two ends, as an artist's roles, the one with that image."""
    for position, (_, version) in enumerate(known):
        if change.link_type is not None and version.after == change.before:
            return position
    return len(known) - 1


def _encoded(text: str) -> str:
    """Return text as a part of a local name: neither may one end with a point, nor begin with a hyphen."""
    return (
        quote(text, safe="", errors="surrogatepass")
        .replace(".", "%2E")
        .replace("-", "%2D", text[:1] == "-")
    )


def _library() -> Any:
    try:
        import prov.constants
        import prov.model
    except ImportError:
        raise LlamaLogError(
            "prov, which writes PROV documents, is not installed",
            hint="Run: pip install 'llamalog-sql[export]'",
        ) from None
    return prov.model
