"""Makes pages of what was gathered: one file each, that asks nothing of any network and obeys nothing that is stored.

Every value on a page goes through `_harmless`, then through the escaping of HTML; the policy in the head of the page lets
no script and no style run but the two that are part of it, by their digests.
"""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from llamalog_sql import __version__, output
from llamalog_sql.report import layout
from llamalog_sql.report.gather import LENGTH, Cut, Entity, JobReport, Log, Step, cut

#: Characters that would not be seen, or change how others are: controls, and what overrides the direction of text.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\uffff]"
)


def entity(found: Entity, made_at: datetime) -> str:
    """Return the page of an entity."""
    return _render(
        "entity.html.j2",
        found=found,
        made_at=made_at,
        branches=layout.branches(found.steps),
        tree=layout.job_tree(found.jobs),
        shown_count=sum(step.seq is not None for step in found.steps),
        created=next((step for step in found.steps if _is_creation(step, found)), None),
    )


def _is_creation(step: Step, found: Entity) -> bool:
    return (step.category, step.link_type, step.entity_type, step.entity_id) == (
        "CREATED",
        None,
        found.entity_type,
        found.entity_id,
    )


def job(found: JobReport, made_at: datetime) -> str:
    """Return the page of a job."""
    return _render("job.html.j2", found=found, made_at=made_at, tree=layout.job_tree(found.kin))


def log(found: Log, made_at: datetime) -> str:
    """Return the page of the whole log."""
    return _render(
        "log.html.j2",
        found=found,
        made_at=made_at,
        chart=layout.chart(found.counts, found.since, found.until, found.unit),
    )


def _render(name: str, **values: Any) -> str:
    style, script = _asset("page.css"), _asset("page.js")
    policy = (
        f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)};"
        " base-uri 'none'; form-action 'none'"
    )
    return (
        _environment()
        .get_template(name)
        .render(
            **values,
            policy=policy,
            # what we wrote ourselves; escaping would change it
            style=Markup(style),  # noqa: S704
            script=Markup(script),  # noqa: S704
            version=__version__,
        )
    )


@cache
def _asset(name: str) -> str:
    return files("llamalog_sql.report").joinpath("templates", name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("llamalog_sql.report", "templates"),
        autoescape=True,
        finalize=_harmless,
        undefined=StrictUndefined,
        lstrip_blocks=True,
    )
    environment.filters.update(
        stored=_stored,
        moment=output.moment,
        iso=lambda at: at.astimezone(UTC).isoformat(),
        number=lambda value: f"{value:,}",
        plural=output.plural,
        shell=shlex.quote,
        cut=cut,
        svg=_line,
    )
    environment.globals.update(
        actor=output.actor,
        badge_colour=output.badge_colour,
        source_colour=lambda name: output.source_colour(name) or "plain",
        REST=layout.REST,
        nothing=cut(None),
    )
    return environment


def _harmless(value: Any) -> Any:
    """Return a value as the page may show it: what is unseen is made seen."""
    return value if isinstance(value, (Markup, int, float)) else _seen(str(value))


def _seen(text: str) -> str:
    return _UNSEEN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _stored(value: Any, length: int = LENGTH) -> Markup:
    """Return a stored text, cut, on an island of its own: its direction of writing does not reach what stands around it."""
    if not isinstance(value, Cut):
        text = str(value)
        value = Cut(text[:length], len(text))
    if value.is_null:
        return Markup('<span class="nothing">nothing</span>')
    if value.text == "":
        return Markup('<span class="nothing">empty text</span>')
    shown = value.text[:length]
    if len(shown) == value.length:
        return Markup("<bdi>{}</bdi>").format(_seen(shown))
    return Markup('<bdi>{}</bdi><span class="cut">… {} characters in all</span>').format(
        _seen(shown), f"{value.length:,}"
    )


def _line(value: Any, length: int) -> str:
    """Return a stored text, cut, for a drawing, where text has no elements of HTML in it."""
    text = str(value)
    return text if len(text) <= length else text[: length - 1] + "…"
