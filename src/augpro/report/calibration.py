"""The two pictures of a calibrated student."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from augpro.calibration.record import CalibrationRecord, ReliabilityBin

if TYPE_CHECKING:
    from augpro.report.charts import Artist, Picture

Line = tuple[tuple[float, float], tuple[float, float]]  # places across and up of its ends


def calibration_pictures(artist: "Artist", record: CalibrationRecord) -> list[dict[str, Any]]:
    """Reliability diagram and coverage curve, with their titles and captions."""
    return [_reliability(artist, record), _coverage(artist, record)]


def _reliability(artist: "Artist", record: CalibrationRecord) -> dict[str, Any]:
    series = {
        "as trained": _points(record.bins_before),
        f"temperature {record.temperature:.2f}": _points(record.bins_after),
    }
    told = "; ".join(
        f"{name}: {', '.join(f'{up:.2f} at {across:.2f}' for across, up in points)}"
        for name, points in series.items()
    )
    picture = _lines(
        artist, series, "confidence of the student", [((0, 1), (0, 1))],
        f"Agreement with the teacher by confidence. {told}.",
    )  # fmt: skip
    caption = (
        f"How often the student agrees with its teacher, by its confidence, on {_rows(record)} texts. On the dashed "
        f"line confidence and agreement are equal. Expected calibration error {record.ece_before:.3f} as trained, "
        f"{record.ece_after:.3f} with the temperature."
    )
    return {"title": "Reliability of the confidence", "picture": picture, "caption": caption}


def _coverage(artist: "Artist", record: CalibrationRecord) -> dict[str, Any]:
    lowest = min(record.agree, *(up for _, up in record.curve))
    dashed: list[Line] = [((0, 1), (record.agree, record.agree))]
    if record.chosen:
        dashed.append(((record.coverage, record.coverage), (lowest, 1)))
    picture = _lines(
        artist, {"agreement": list(record.curve)}, "share of texts, the most confident first", dashed,
        "Agreement with the teacher by share of texts: "
        + ", ".join(f"{up:.3f} at {across:.2f}" for across, up in record.curve[9::10]) + ".",
    )  # fmt: skip
    caption = (
        f"Agreement on the most confident of {_rows(record)} texts. Dashed: {record.agree:.4g}, as asked"
    )
    if record.chosen:
        caption += (
            f", and the {record.coverage:.0%} of the texts above the threshold {record.chosen.threshold:.3f}, which "
            f"agree on {record.chosen.agreement:.1%} (lower bound {record.chosen.bound:.1%})."
        )
    else:
        caption += "; no threshold could be shown to give it."
    return {"title": "Agreement against coverage", "picture": picture, "caption": caption}


def _lines(
    artist: "Artist",
    series: dict[str, list[tuple[float, float]]],
    across: str,
    dashed: list[Line],
    alternative: str,
) -> "Picture":
    """A line for every name, and dashed ones to compare them with."""
    from augpro.report.charts import GRID, INK, MARKERS, MUTED, SERIES

    def draw(axes: Any) -> None:
        for line in dashed:
            axes.plot(*line, color=MUTED, lw=1, dashes=(4, 3))
        for number, (label, points) in enumerate(series.items()):
            marker = MARKERS[number] if len(points) <= 15 else ""
            axes.plot(
                *zip(*points, strict=True), color=SERIES[number], marker=marker, ms=6, lw=1.6, label=label
            )
        axes.set_xlim(0, 1.02)
        axes.grid(color=GRID, lw=0.8)
        axes.set_xlabel(across)
        axes.set_ylabel("share that agrees with the teacher")
        if len(series) > 1:
            axes.legend(loc="best", frameon=False, labelcolor=INK)

    return artist.picture(draw, 3.6, alternative)


def _points(bins: Sequence[ReliabilityBin]) -> list[tuple[float, float]]:
    return [(part.confidence, part.agreement) for part in bins]


def _rows(record: CalibrationRecord) -> str:
    return f"{record.rows - record.fitted_rows:,}"
