"""Pictures of a report as inline SVG: drawn by matplotlib, coloured by the page.

Colours are stand-ins that become CSS variables, and every style attribute becomes a class, so that the page's
Content-Security-Policy can forbid inline styles and its dark theme recolours the pictures. The same figures give
the same bytes.
"""

import io
import math
import re
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from matplotlib import rc_context, rcParamsDefault
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from augpro.evaluation.significance import seed_interval

# Stand-in -> CSS variable.
INK, MUTED, GRID, _ACCENT = "#000001", "#000002", "#000003", "#000004"
_VARIABLES = {INK: "ink", MUTED: "muted", GRID: "line", _ACCENT: "accent"}
SERIES = [f"#0000{16 + number:02x}" for number in range(8)]
_VARIABLES |= {colour: f"series-{number}" for number, colour in enumerate(SERIES)}
MARKERS = "osD^vPX<>*"
_WIDTH = 4.8  # inches of 72 points: the size at which a phone shows it nearly unscaled

# Where a name may stand: points away from its own, steps to the right and up.
_PLACES = [
    (far, right, up)
    for far in (8, 16, 26, 38)
    for right, up in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))
]

_STYLE = re.compile(r'\sstyle="([^"]*)"')
_FONT = re.compile(r"font-family: [^;]*;\s*")  # the page's own
_TAG = re.compile(r"<[^>]*>")


@dataclass(frozen=True)
class Series:
    """One method: its label and its values over seeds."""

    label: str
    values: list[float]

    @property
    def mean(self) -> float:
        """Over seeds."""
        return statistics.mean(self.values)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the mean; nan where there is none."""
        return seed_interval(self.values)


@dataclass(frozen=True)
class Picture:
    """An SVG element and the text that stands for it."""

    svg: str
    alternative: str


class Artist:
    """RowRandom the pictures of one page.

    Attributes:
        styles: CSS of all pictures drawn so far; it belongs into the page.
    """

    def __init__(self) -> None:
        self._classes: dict[str, str] = {}
        self._pictures = 0

    @property
    def styles(self) -> str:
        """CSS rules, one a class."""
        return "\n".join(f".{name}{{{style}}}" for style, name in self._classes.items())

    def dots(
        self, series: list[Series], lines: dict[str, float | None], axis: str, alternative: str
    ) -> Picture:
        """A dot with an interval for every method, the best one on top, and named vertical lines.

        The axis covers every seed and the lines near them; an interval that is wider is cut with an arrow, so
        that two seeds, whose interval is twelve standard errors wide, do not hide the differences.
        """

        def draw(axes: Axes) -> None:
            ordered = sorted(series, key=lambda one: one.mean)
            left, right = _range([value for one in series for value in one.values], lines)
            axes.set_xlim(left, right)
            for place, one in enumerate(ordered):
                axes.plot(one.values, [place] * len(one.values), "o", ms=4.5, mfc="none", mec=MUTED, mew=0.9)
                low, high = one.interval
                if not math.isnan(low):
                    axes.plot([max(low, left), min(high, right)], [place] * 2, color=_ACCENT, lw=2)
                    for end, cut, mark in ((left, low < left, "<"), (right, high > right, ">")):
                        if cut:
                            axes.plot([end], [place], mark, ms=6, color=_ACCENT, clip_on=False)
                axes.plot([one.mean], [place], "o", ms=8, color=_ACCENT)
            for number, (name, value) in enumerate(lines.items()):
                _line(axes, name, value, number, len(ordered))
            axes.set_yticks(range(len(ordered)), [_short(one.label) for one in ordered])
            axes.set_ylim(-0.7, len(ordered) - 0.3)
            axes.grid(axis="x", color=GRID, lw=0.8)
            axes.set_xlabel(axis)

        return self.picture(draw, 1.3 + 0.3 * len(series), alternative)

    def scatter(
        self, points: list[tuple[str, float, float]], across: str, up: str, alternative: str
    ) -> Picture:
        """Labelled points; the x axis is logarithmic where its values lie far apart."""

        def draw(axes: Axes) -> None:
            seconds = [x for _, x, _ in points]
            if max(seconds) > 3 * min(seconds):  # else a logarithmic axis would have one tick or none
                axes.set_xscale("log")
                axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
                axes.xaxis.set_minor_locator(NullLocator())
            axes.plot(seconds, [y for _, _, y in points], "o", ms=7, color=_ACCENT)
            axes.margins(0.18)
            axes.grid(color=GRID, lw=0.8)
            axes.set_xlabel(across)
            axes.set_ylabel(up)
            _label_points(axes, points)

        return self.picture(draw, 4.2, alternative)

    def curves(self, series: dict[str, list[tuple[float, float]]], up: str, alternative: str) -> Picture:
        """A line for every method over training rows, logarithmic, each point (rows, mean)."""
        # A legend that is wider than the picture would leave no room for the lines.
        columns = max(1, min(3, 54 // (max(len(_short(label)) for label in series) + 6)))

        def draw(axes: Axes) -> None:
            axes.set_xscale("log")
            for number, (label, points) in enumerate(series.items()):
                rows = [point[0] for point in points]
                colour, marker = SERIES[number % len(SERIES)], MARKERS[number % len(MARKERS)]
                dashes: Any = (None, None) if number < len(SERIES) else (4, 2)
                axes.plot(rows, [point[1] for point in points], color=colour, marker=marker, ms=6, lw=1.6,
                          dashes=dashes, label=_short(label))  # fmt: skip
            sizes = sorted({point[0] for points in series.values() for point in points})
            axes.set_xticks(sizes, [f"{size:,.0f}" for size in sizes])
            axes.xaxis.set_minor_locator(NullLocator())
            axes.grid(color=GRID, lw=0.8)
            axes.set_xlabel("training rows")
            axes.set_ylabel(up)
            axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.17), ncols=columns, frameon=False,
                        labelcolor=INK, handlelength=1.8, columnspacing=1.2)  # fmt: skip

        return self.picture(draw, 3.9 + 0.25 * -(-len(series) // columns), alternative)

    def picture(self, draw: Callable[[Axes], None], height: float, alternative: str) -> Picture:
        """What a function draws, so many inches high."""
        self._pictures += 1
        # From the defaults on, so that a reader's own matplotlibrc changes nothing.
        settings: Any = {
            **{name: value for name, value in rcParamsDefault.items() if not name.startswith("backend")},
            "svg.fonttype": "none", "svg.hashsalt": f"augpro-{self._pictures}", "text.parse_math": False,
            "font.size": 10.5, "font.family": "DejaVu Sans", "text.color": INK, "axes.labelcolor": INK,
            "xtick.color": MUTED, "ytick.color": MUTED, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
            "axes.edgecolor": MUTED, "axes.spines.top": False, "axes.spines.right": False,
            "axes.axisbelow": True, "axes.facecolor": "none", "figure.facecolor": "none",
            "axes.formatter.useoffset": False, "axes.unicode_minus": True,
        }  # fmt: skip
        with rc_context(settings):
            figure = Figure(figsize=(_WIDTH, height), layout="constrained")
            FigureCanvasAgg(figure)
            draw(figure.add_subplot())
            target = io.StringIO()
            figure.savefig(target, format="svg", metadata={"Date": None, "Creator": None})
        return Picture(self._for_page(target.getvalue()), alternative)

    def _for_page(self, svg: str) -> str:
        """The element alone, with its own ids, and classes in place of styles."""
        svg = svg[svg.index("<svg") :]
        for part in (r"<metadata>.*?</metadata>", r"<style[^>]*>.*?</style>"):
            svg = re.sub(part, "", svg, flags=re.DOTALL)
        svg = re.sub(
            r'<svg[^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true">', svg, count=1
        )
        # Only inside tags: what the data wrote is text, and no text becomes a style.
        return _TAG.sub(lambda found: self._tag(found[0]), svg).strip()

    def _tag(self, tag: str) -> str:
        tag = re.sub(
            r'(\sid="|url\(#|href="#)', rf"\g<1>p{self._pictures}-", tag.replace("xlink:href", "href")
        )
        return _STYLE.sub(lambda found: f' class="{self._class(found[1])}"', tag)

    def _class(self, style: str) -> str:
        style = _FONT.sub("", style)
        for colour, variable in _VARIABLES.items():
            style = style.replace(colour, f"var(--{variable})")
        return self._classes.setdefault(style, f"m{len(self._classes)}")


def _short(label: str) -> str:
    return label if len(label) <= 24 else f"{label[:23]}…"


def _range(values: list[float], lines: dict[str, float | None]) -> tuple[float, float]:
    """Limits around the values and those lines that are not far off."""
    low, high = min(values), max(values)
    span = max(high - low, 1e-3)
    near = [line for line in lines.values() if line is not None and low - span < line < high + span]
    low, high = min([low, *near]), max([high, *near])
    pad = 0.08 * max(high - low, 1e-3)
    return low - pad, high + pad


def _line(axes: Axes, name: str, value: float | None, number: int, rows: int) -> None:
    """A named vertical line; beyond the axis a named arrow."""
    if value is None:
        return
    left, right = axes.get_xlim()
    text, side = f"{name} {value:.3f}", "center"
    if left <= value <= right:
        axes.axvline(value, color=INK, lw=1.2, zorder=0.5, dashes=[(4, 3), (1, 2)][number % 2])
        side = "left" if value < left + 0.25 * (right - left) else side
        side = "right" if value > right - 0.25 * (right - left) else side
    elif value > right:
        text, side, value = f"{text} →", "right", right
    else:
        text, side, value = f"← {text}", "left", left
    axes.text(value, rows - 0.25 + 0.75 * (number % 2), text, ha=side, va="bottom", fontsize=9, color=INK)


def _label_points(axes: Axes, points: list[tuple[str, float, float]]) -> None:
    """A name beside each point, at the first place where it covers no other name and no point.

    Where there is no such place the name is left out of the picture; the table has it.
    """
    figure: Any = axes.figure
    figure.canvas.draw()  # the layout decides where the points are
    centres = [tuple(axes.transData.transform((x, y))) for _, x, y in points]
    taken: list[Any] = []
    for (name, x, y), own in zip(points, centres, strict=True):
        others = [centre for centre in centres if centre != own]
        for far, right, up in _PLACES:
            label = axes.annotate(
                _short(name), (x, y), (right * far, up * far), textcoords="offset points", fontsize=9,
                ha={1: "left", -1: "right", 0: "center"}[right], va={1: "bottom", -1: "top", 0: "center"}[up],
            )  # fmt: skip
            box = label.get_window_extent(figure.canvas.get_renderer())
            if _free(box, taken, others, axes.bbox):
                taken.append(box)
                if far > _PLACES[0][0]:
                    axes.annotate("", (x, y), (right * far, up * far), textcoords="offset points",
                                  arrowprops={"arrowstyle": "-", "color": MUTED, "lw": 0.7})  # fmt: skip
                break
            label.remove()


def _free(box: Any, taken: list[Any], points: list[Any], frame: Any) -> bool:
    """Whether a name may stand in this box, in pixels."""
    inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
    covers = any(box.x0 - 5 < x < box.x1 + 5 and box.y0 - 5 < y < box.y1 + 5 for x, y in points)
    return inside and not covers and not any(box.overlaps(other) for other in taken)
