"""Where things stand on a page: changes below the jobs that made them, lines of the job tree, bars of a chart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from llamalog_sql import output
from llamalog_sql.report.gather import Count, Job, Step

#: Levels that are indented; what is deeper stands at the last one, for no screen has room for more.
_DEEPEST = 20

#: Pixels of the job tree: a row, a level, a character.
_ROW, _LEVEL, _CHARACTER = 34, 26, 7.6

#: Pixels of the chart, and how many sources have a colour of their own in it.
_WIDTH, _HEIGHT, _STACKED = 720, 160, 7


@dataclass
class Branch:
    """A step with what is below it.  says_who: whether its source and user are not those of the step above."""

    step: Step
    above: Branch | None = None
    level: int = 0
    says_who: bool = True
    below: list[Branch] = field(default_factory=list)

    @property
    def shown(self) -> list[Branch]:
        return self.below[: output.CHILDREN]

    @property
    def more(self) -> list[Branch]:
        return self.below[output.CHILDREN :]


def branches(steps: Sequence[Step]) -> list[Branch]:
    """Return the steps nested, in their order."""
    top: list[Branch] = []
    by_node: dict[str, Branch] = {}
    for step in steps:
        above = by_node.get(step.parent_node or "") if step.depth else None
        while above is not None and above.level >= _DEEPEST:
            above = above.above
        branch = Branch(step, above, above.level + 1 if above else 0)
        branch.says_who = (
            above is None
            or step.node.startswith("job ")
            or (step.source, step.user_id) != (above.step.source, above.step.user_id)
        )
        by_node[step.node] = branch
        (above.below if above else top).append(branch)
    for branch in by_node.values():
        branch.below = [_in_one_line(below) for below in branch.below]
    return [_in_one_line(branch) for branch in top]


def _in_one_line(branch: Branch) -> Branch:
    """Return what stands for a job that did one thing: that thing."""
    if branch.step.seq is None and len(branch.below) == 1:
        only = branch.below[0]
        if only.step.seq is not None and not only.below:
            only.says_who = True
            return only
    return branch


@dataclass(frozen=True)
class TreeRow:
    """A line of the job tree.  edge: the path that leads to it from the job above."""

    job: Job
    x: int
    y: int
    edge: str
    has_more: bool
    below_count: int
    colour: str


@dataclass(frozen=True)
class JobTree:
    """A drawing of jobs.  row, level: pixels, for folding."""

    rows: list[TreeRow]
    width: int
    height: int
    row: int = _ROW
    level: int = _LEVEL


def job_tree(jobs: Sequence[Job]) -> JobTree:
    """Return where each job stands: one a line, to the right of the job that caused it."""
    below = [0] * len(jobs)
    for place in reversed(range(len(jobs))):
        parent = jobs[place].parent
        if parent is not None:
            below[parent] += below[place] + 1
    rows = []
    for place, job in enumerate(jobs):
        x, y = _x(job), _ROW * place + _ROW // 2
        edge = ""
        if job.parent is not None:
            left, top = _x(jobs[job.parent]), _ROW * job.parent + _ROW // 2
            edge = f"M{left} {top + 8}V{y}H{x - 8}"
        rows.append(TreeRow(job, x, y, edge, below[place] > 0, below[place], _job_colour(job)))
    widths = [row.x + 24 + _CHARACTER * len(_job_words(row.job)) for row in rows]
    return JobTree(rows, min(2000, round(max([320, *widths]))), _ROW * len(rows))


def _x(job: Job) -> int:
    return 14 + _LEVEL * min(job.depth, _DEEPEST)


def _job_colour(job: Job) -> str:
    """Return the colour of the worst that the job did."""
    colours = {output.badge_colour(category, status) for category, status in job.changes}
    return next((name for name in ("red", "yellow", "green") if name in colours), "bright_black")


def _job_words(job: Job) -> str:
    """Return about what is written on the line, to know how wide it is."""
    changes = " · ".join(f"{count} {category}" for (category, _), count in job.changes.items())
    return f"{(job.source or '')[:40]}  {job.job_id[:48]}  {changes}"


@dataclass(frozen=True)
class Bar:
    """A part of a bar: a rectangle in pixels, and what it says."""

    x: float
    y: float
    width: float
    height: float
    colour: str
    name: str | None
    count: int
    period: datetime


@dataclass(frozen=True)
class Chart:
    """Bars stacked over time.  series: name and colour, as stacked from below; ticks: x and text under the axis."""

    bars: list[Bar]
    series: list[tuple[str | None, str]]
    ticks: list[tuple[float, str]]
    top: int
    width: int = _WIDTH
    height: int = _HEIGHT


#: Colours of sources that have none of their own, by place.
_OTHERS = ["teal", "ochre", "slate", "rose", "olive", "sky", "brown"]
REST = "all others"


def chart(counts: Sequence[Count], since: datetime, until: datetime, unit: str) -> Chart:
    """Return the changes by period as stacked bars, the largest sources apart."""
    names = [count.name for count in counts if count.facet == "source"][:_STACKED]
    spare = iter(_OTHERS)
    series = [(name, output.source_colour(name) or next(spare)) for name in names]
    taken: set[str] = set()
    for place, (name, colour) in enumerate(series):
        if colour in taken:  # two paths of one source
            series[place] = (name, next(spare))
        taken.add(series[place][1])
    totals = {count.period: count.changes for count in counts if count.facet == "period"}
    parts = {
        (count.period, count.name): count.changes
        for count in counts
        if count.facet == "period and source"
    }
    periods = list(_periods(since, until, unit, [at for at in totals if at is not None]))
    top = max([*totals.values(), 1])
    step = _WIDTH / max(len(periods), 1)
    bars = []
    has_rest = False
    for place, period in enumerate(periods):
        height = 0.0
        left = totals.get(period, 0)
        for name, colour in series:
            count = parts.get((period, name), 0)
            if count:
                left -= count
                bars.append(_bar(place, step, height, count, top, colour, name, period))
                height += count * _HEIGHT / top
        if left > 0:
            has_rest = True
            bars.append(_bar(place, step, height, left, top, "bright_black", REST, period))
    if has_rest:
        series.append((REST, "bright_black"))
    every = max(1, -(-len(periods) // 8))
    written = {"day": "%-d %b", "week": "%-d %b %y", "month": "%b %Y"}[unit]
    ticks = [
        (round((place + 0.5) * step, 1), period.strftime(written))
        for place, period in enumerate(periods)
        if place % every == 0
    ]
    return Chart(bars, series, ticks, top)


def _bar(
    place: int,
    step: float,
    below: float,
    count: int,
    top: int,
    colour: str,
    name: str | None,
    period: datetime,
) -> Bar:
    height = count * _HEIGHT / top
    gap = min(4.0, step * 0.2)
    return Bar(
        round(place * step + gap / 2, 2),
        round(_HEIGHT - below - height, 2),
        round(min(step - gap, 64), 2),
        round(height, 2),
        colour,
        name,
        count,
        period,
    )


def _periods(
    since: datetime, until: datetime, unit: str, counted: Iterable[datetime]
) -> Iterable[datetime]:
    """Return every period of the interval, those without a change too: the axis is time."""
    known = sorted(counted)
    if not known:
        return []
    if unit == "month":
        # however long ago: from the first change on
        first = known[0]
        months = (until.year - first.year) * 12 + until.month - first.month
        found = [
            first.replace(
                year=first.year + (first.month - 1 + n) // 12, month=(first.month - 1 + n) % 12 + 1
            )
            for n in range(months + 1)
        ]
    else:
        first = since.replace(hour=0, minute=0, second=0, microsecond=0)
        if unit == "week":
            first -= timedelta(days=first.weekday())
        step = timedelta(days=7 if unit == "week" else 1)
        found = [first + n * step for n in range((until - first) // step + 1)]
    return [period for period in found if period < until]
