"""Draws what bench/growth.py measured: SVG that is the same for the same measurements, and legible on light and dark pages."""

from __future__ import annotations

import re
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

if TYPE_CHECKING:
    from growth import Plot

NONE, CAPTURED = "no log", "captured"

#: Okabe and Ito's blue and vermilion: told apart by those who do not see red from green, and on either background.
BLUE, RED, GREY = "#0072b2", "#d55e00", "#7d8590"
PAPER, INK, RULE = "#ffffff", "#1f2328", "#d8dee4"
LINES: dict[str, dict[str, Any]] = {
    NONE: {"color": GREY, "linestyle": (0, (4, 2)), "marker": "s", "markersize": 3.5},
    CAPTURED: {"color": BLUE, "linestyle": "-", "marker": "o", "markersize": 4},
}
#: On a dark page; a viewer that knows no such rules shows the light card, which is legible there too.
_DARK = {PAPER: "#0d1117", INK: "#e6edf3", RULE: "#30363d", BLUE: "#56b4e9"}

_STYLE = {
    "svg.hashsalt": "llamalog",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": INK,
    "xtick.labelsize": 8,
    "ytick.color": INK,
    "ytick.labelsize": 8,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
}


def draw(plot: Plot, kept: dict[str, Any], path: Path, *, png: bool = False) -> None:
    """Write `path`.svg, and .png where asked, of the measurements as bench/growth.py keeps them."""
    with mpl.rc_context(_STYLE):
        panels = kept["measured"]
        figure, axes = plt.subplots(
            1,
            len(panels),
            figsize=(9 if len(panels) > 1 else 7, 3.3),
            sharey=plot.is_y_shared,
            sharex=plot.name == "options",
            layout="constrained",
            squeeze=False,
        )
        figure.get_layout_engine().set(w_pad=0.1)  # type: ignore[union-attr]
        figure.suptitle(plot.title, x=0.01, ha="left", fontsize=11, fontweight="bold")
        for position, (axis, (panel, found)) in enumerate(
            zip(axes[0], panels.items(), strict=True)
        ):
            axis.set_title(panel if len(panels) > 1 else "")
            if plot.name == "options":
                _dots(axis, found)
            else:
                _lines(plot, axis, found)
            if position == 0 or not plot.is_y_shared:
                axis.set_ylabel(plot.y)
        figure.supxlabel(plot.x, fontsize=9)
        figure.text(
            1,
            0.995,
            f"PostgreSQL {kept['postgresql']}, {kept['cores']} cores, no fsync; median and middle half of {kept['rounds']} rounds",
            ha="right",
            va="top",
            fontsize=7,
        )
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None, "Creator": None})
        if png:
            figure.savefig(path.with_suffix(".png"), dpi=110)
        plt.close(figure)
    svg = path.with_suffix(".svg")
    svg.write_text(_for_dark_pages(svg.read_text()))


def _lines(plot: Plot, axis: Axes, found: dict[str, dict[str, list[float]]]) -> None:
    """One panel: a line with its band for each series, named at its end."""
    xs = [int(x) for x in next(iter(found.values()))]
    places = list(range(len(xs))) if plot.is_log_x else xs
    width = places[-1] - places[0]
    for series, points in found.items():
        times = [_shown(plot, int(x), times) for x, times in points.items()]
        middle = [statistics.median(some) for some in times]
        quarters = [statistics.quantiles(some, n=4, method="inclusive") for some in times]
        axis.plot(places, middle, linewidth=1.6, **LINES[series])
        axis.fill_between(
            places,
            [low for low, _, _ in quarters],
            [high for _, _, high in quarters],
            color=LINES[series]["color"],
            alpha=0.22,
            linewidth=0,
        )
        last = str(xs[-1])
        # the names keep apart where the lines meet
        highest = max(statistics.median(found[other][last]) for other in found)
        is_upper = (statistics.median(points[last]) >= highest) != plot.is_rate
        name = f"{series}\n{_compared(plot, found, xs[-1])}" if series == CAPTURED else series
        axis.annotate(
            name,
            (places[-1], middle[-1]),
            xytext=(7, 4 if is_upper else -4),
            textcoords="offset points",
            va="center",
            color=LINES[series]["color"],
            fontweight="bold",
        )
    first, second = (statistics.median(_shown(plot, x, found[CAPTURED][str(x)])) for x in xs[:2])
    axis.annotate(
        _compared(plot, found, xs[0]),
        (places[0], first),
        xytext=(4, 4) if second < first else (1, -13),  # beside the line, not on it
        textcoords="offset points",
        color=BLUE,
        fontweight="bold",
    )
    named, free = [], places[0]
    for x, place in zip(xs, places, strict=True):
        named.append(_count(x) if place >= free else "")
        free = place + width * 0.08 if place >= free else free
    axis.set_xticks(places, named)
    axis.set_xlim(places[0] - width * 0.06, places[-1] + width * 0.34)
    if plot.is_log_y:
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda y, _: f"{y:,g}"))
        axis.yaxis.set_minor_formatter(mpl.ticker.NullFormatter())
    else:
        axis.set_ylim(0, max(axis.get_ylim()[1], axis.dataLim.ymax * 1.12))
        axis.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda y, _: f"{y:,.0f}"))


def _dots(axis: Axes, found: dict[str, dict[str, list[float]]]) -> None:
    """One panel of the options: each a dot at its multiple of the time without a log, and the middle half as a bar."""
    options = [name for name in found if name != NONE]
    axis.grid(axis="x")
    axis.grid(visible=False, axis="y")
    for place, name in enumerate(options):
        ratios = [mine / none for mine, none in zip(found[name][""], found[NONE][""], strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4, method="inclusive")
        middle = statistics.median(ratios)
        color, marker = (BLUE, "o") if place == 0 else (RED, "D")
        axis.plot([low, high], [place, place], color=color, linewidth=5, alpha=0.3)
        axis.plot([middle], [place], marker=marker, color=color, markersize=5)
        axis.annotate(
            f"{middle:.1f}" if middle < 10 else f"{middle:.0f}",
            (middle, place),
            xytext=(0, 6),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    axis.axvline(1, color=GREY, linestyle=(0, (4, 2)), linewidth=1.2)
    axis.set_yticks(range(len(options)), options)
    axis.set_ylim(len(options) - 0.5, -0.7)
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda x, _: f"{x:g}"))
    axis.xaxis.set_minor_formatter(mpl.ticker.NullFormatter())
    axis.set_xlim(0.7, max(axis.get_xlim()[1], axis.dataLim.xmax * 2))
    axis.tick_params(axis="y", length=0)


def _shown(plot: Plot, x: int, times: list[float]) -> list[float]:
    """Microseconds of a write as they are; for clients, the writes a second that all of them make."""
    return [x * 1e6 / time for time in times] if plot.is_rate else times


def _compared(plot: Plot, found: dict[str, dict[str, list[float]]], x: int) -> str:
    """Captured to not, the median of the rounds: a multiple of a time, or a share of a rate."""
    pairs = zip(found[CAPTURED][str(x)], found[NONE][str(x)], strict=True)
    ratio = statistics.median(mine / none for mine, none in pairs)
    if plot.is_rate:
        return f"{1 / ratio:.0%}"
    return f"{ratio:.1f} ×" if ratio < 10 else f"{ratio:.0f} ×"


def _count(number: int) -> str:
    """1,000 as 1k, so that it fits below a tick."""
    for size, letter in ((1_000_000, "M"), (1_000, "k")):
        if number >= size and number % size == 0:
            return f"{number // size}{letter}"
    return str(number)


def _for_dark_pages(svg: str) -> str:
    """Add the colours of a dark page; drop trailing blanks, which an editor would."""
    rules = "".join(
        f'[style*="{kind}: {light}"]{{{kind}:{dark}!important}}'
        for light, dark in _DARK.items()
        for kind in ("fill", "stroke")
    )
    style = f"<style>@media (prefers-color-scheme: dark){{{rules}}}</style>"
    svg = re.sub(r"(<svg\b[^>]*>)", rf"\1\n {style}", svg, count=1)
    return re.sub(r"[ \t]+$", "", svg, flags=re.MULTILINE)
