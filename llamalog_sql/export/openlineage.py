"""Jobs as OpenLineage run events: one when a job began, one when it was last seen at work.

What becomes what, docs/export.md says. A run's id follows from the job's, so that an export may be repeated.
"""

from __future__ import annotations

import itertools
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from llamalog_sql import __version__
from llamalog_sql.connection import Connection
from llamalog_sql.connection import rows as fetched
from llamalog_sql.export import rows
from llamalog_sql.queries import Change

_SPEC = "https://openlineage.io/spec"
_EVENT = f"{_SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent"
_PRODUCER = f"urn:llamalog-sql:{__version__}"

#: Jobs that are looked up at a time.
_BATCH = 500


def events(
    conn: Connection, job_ids: Iterable[str], *, namespace: str | None = None
) -> Iterator[dict[str, Any]]:
    """Yield START and then COMPLETE or FAIL of each job, of all that it made: however it is asked for, a run is the same.

    namespace: of tables and jobs; by default postgres:// with host and port of the server.
    """
    lineage = _Lineage(conn, namespace)
    left = iter(job_ids)
    while batch := list(itertools.islice(left, _BATCH)):
        known = rows.jobs(conn, batch)
        for job_id, changes in itertools.groupby(rows.of_jobs(conn, batch), rows.job_of):
            assert job_id is not None
            yield from lineage.run(known, known[job_id], _made(changes))


@dataclass
class _Made:
    """What a job made, as far as its event says.  last: its last change.  written, read: rows by entity type."""

    last: Change
    began: datetime
    ended: datetime
    source: str | None = None
    written: Counter[str] = field(default_factory=Counter)
    read: set[str] = field(default_factory=set)
    outside: set[str] = field(default_factory=set)


def _made(changes: Iterable[Change]) -> _Made:
    """Return what the changes of one job, by seq, come to; a job may have made millions."""
    made = None
    for change in changes:
        made = made or _Made(change, change.created_at, change.created_at)
        made.last = change
        made.began = min(made.began, change.created_at)
        made.ended = max(made.ended, change.created_at)
        made.source = made.source or change.source
        made.outside.update(change.sources or [])
        kind = change.link_type or change.entity_type
        if change.op and kind:
            made.written[kind] += 1
            if change.op != "I":
                made.read.add(kind)
    assert made is not None
    return made


class _Lineage:
    def __init__(self, conn: Connection, namespace: str | None) -> None:
        host = conn.info.host
        host = "localhost" if not host or host.startswith("/") else host
        self._namespace = namespace or f"postgres://{host}:{conn.info.port}"
        self._database = conn.info.dbname
        version = conn.info.parameter_status("server_version") or ""
        self._engine = self._facet(
            "1-1-1/ProcessingEngineRunFacet", name="PostgreSQL", version=version
        )
        self._tables = {
            entity_type: f"{schema}.{table}"
            for entity_type, schema, table in fetched(
                conn, "SELECT entity_type, schema_name, table_name FROM llamalog.watches"
            )
        }

    def run(
        self, known: dict[str, rows.Job], job: rows.Job, made: _Made
    ) -> Iterator[dict[str, Any]]:
        last, ended = made.last, made.ended
        began = min(made.began, job.started_at or made.began)
        # an attempt that failed and then went well has not failed
        has_failed = last.category == "FAILED" or last.status == "FAILED"
        facets: dict[str, Any] = {
            "processing_engine": self._engine,
            "nominalTime": self._facet(
                "1-0-1/NominalTimeRunFacet",
                nominalStartTime=began.isoformat(),
                nominalEndTime=ended.isoformat(),
            ),
            "llamalog": {
                "_producer": _PRODUCER,
                "_schemaURL": f"{_SPEC}/2-0-2/OpenLineage.json#/$defs/RunFacet",
                "jobId": job.job_id,
                "userId": job.user_id or last.user_id,
                "dbUser": last.db_user,
                "triggeredBy": job.triggered_by or last.triggered_by,
            },
        }
        if job.parent_job_id:
            parent, root = known[job.parent_job_id], _root(known, job)
            facets["parent"] = self._facet(
                "1-2-0/ParentRunFacet",
                run={"runId": self._run_id(parent)},
                job=self._job(parent),
                root={"run": {"runId": self._run_id(root)}, "job": self._job(root)},
            )
        event = {
            "eventType": "START",
            "eventTime": began.isoformat(),
            "producer": _PRODUCER,
            "schemaURL": _EVENT,
            "run": {"runId": self._run_id(job), "facets": facets},
            "job": {
                **self._job(job, made.source),
                "facets": {
                    "jobType": self._facet(
                        "2-0-4/JobTypeJobFacet",
                        processingType="BATCH",
                        integration="LLAMALOG",
                        jobType="JOB",
                    )
                },
            },
            "inputs": self._inputs(made),
            "outputs": [],
        }
        yield event
        if has_failed:
            facets = {
                **facets,
                "errorMessage": self._facet(
                    "1-0-1/ErrorMessageRunFacet",
                    message=last.error_message or last.reason or last.operation,
                    programmingLanguage="SQL",
                ),
            }
        yield {
            **event,
            "eventType": "FAIL" if has_failed else "COMPLETE",
            "eventTime": ended.isoformat(),
            "run": {"runId": self._run_id(job), "facets": facets},
            "outputs": self._outputs(made),
        }

    def _inputs(self, made: _Made) -> list[dict[str, Any]]:
        """Return what a job is known to have read: rows that it changed, and the outside sources that it names."""
        return [
            {"namespace": self._namespace, "name": self._table(kind)} for kind in sorted(made.read)
        ] + [{"namespace": "llamalog:sources", "name": name} for name in sorted(made.outside)]

    def _outputs(self, made: _Made) -> list[dict[str, Any]]:
        return [
            {
                "namespace": self._namespace,
                "name": self._table(kind),
                "outputFacets": {
                    "outputStatistics": self._facet(
                        "1-0-2/OutputStatisticsOutputDatasetFacet", rowCount=count
                    )
                },
            }
            for kind, count in sorted(made.written.items())
        ]

    def _table(self, kind: str) -> str:
        """Return database.schema.table; of a type that is no longer known, its name."""
        return f"{self._database}.{self._tables.get(kind, kind)}"

    def _job(self, job: rows.Job, source: str | None = None) -> dict[str, Any]:
        """Return the name that the runs of one path share."""
        name = f"{self._database}.{job.source or source or 'unknown'}"
        return {"namespace": self._namespace, "name": name}

    def _run_id(self, job: rows.Job) -> str:
        named = f"{self._namespace}/{self._database}/{job.job_id}"
        return str(uuid.uuid5(uuid.NAMESPACE_URL, named))

    def _facet(self, schema: str, **content: Any) -> dict[str, Any]:
        name = schema.partition("/")[2]
        return {
            "_producer": _PRODUCER,
            "_schemaURL": f"{_SPEC}/facets/{schema}.json#/$defs/{name}",
            **content,
        }


def _root(known: dict[str, rows.Job], job: rows.Job) -> rows.Job:
    """Return the first ancestor; where jobs cause each other in a circle, the one before it closes."""
    seen = {job.job_id}
    while job.parent_job_id and job.parent_job_id not in seen:
        job = known[job.parent_job_id]
        seen.add(job.job_id)
    return job
