"""The chart of docs/benchmarks.md: quality of every method of a comparison, as an SVG for light and dark mode.

python benchmarks/picture.py evidence-sst2.jsonl docs/evidence.svg --name "none=plain distillation" ...
"""

import argparse
import statistics
from pathlib import Path
from xml.sax.saxutils import quoteattr

from tables import RESULTS, methods_of, quality, rows_of, scored

from augpro.report.charts import Artist, Series

COLOURS = {
    "light": {"ink": "#1c1e21", "muted": "#63686f", "line": "#d9dce1", "accent": "#1f5fbf"},
    "dark": {"ink": "#e8eaed", "muted": "#a0a6ae", "line": "#3a3f46", "accent": "#82b1ff"},
}


def drawn(file: str, names: dict[str, str], width: int = 720) -> str:
    """The whole SVG file."""
    methods = methods_of(rows_of(RESULTS / file))
    series = []
    for method, label in names.items():
        values = [quality(row, "metric") for row in methods[method].values()]
        series.append(Series(label, values))
    first = next(iter(methods["none"].values()))
    axis = f"{first.metric_name}, {scored(first).rows:,} rows"
    told = ", ".join(f"{one.label} {one.mean:.3f}" for one in sorted(series, key=lambda one: -one.mean))
    plain = statistics.mean(quality(row, "metric") for row in methods["none"].values())
    artist = Artist()
    picture = artist.dots(series, {"plain distillation": plain}, axis, told)
    theme = {
        name: ":root{" + "".join(f"--{key}:{value};" for key, value in colours.items()) + "}"
        for name, colours in COLOURS.items()
    }
    style = f"{theme['light']}@media(prefers-color-scheme:dark){{{theme['dark']}}}"
    style += "text{font-family:system-ui,sans-serif}"
    start = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" role="img" aria-label={quoteattr(told)}'
    svg = picture.svg.replace("<svg", start, 1).replace(' aria-hidden="true"', "", 1)
    head, rest = svg.split(">", 1)
    return f"{head}><style>{style}{artist.styles}</style>{rest}\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", help="file of benchmarks/results")
    parser.add_argument("out", type=Path)
    parser.add_argument("--name", action="append", default=[], help="METHOD=NAME: a method that is drawn")
    args = parser.parse_args()
    names = dict(name.rsplit("=", 1) for name in args.name)
    args.out.write_text(drawn(args.results, names), encoding="utf-8")


if __name__ == "__main__":
    main()
