"""The plot of ``defaults.py``: gain on the target against damage elsewhere, each run with its 95 % intervals.

An arrow goes from what our recipe would have handed over without the guard to what it did hand over.

    python experiments/defaults_figure.py runs/defaults/rows-fr-zh.json --output docs/defaults.svg
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr_headroom.report.drawing import BETTER, LINE, MUTED, SET_INKS, UNSURE, WORSE, Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

TITLES = {
    "fr": "French, saturated\n(damage: Mandarin)",
    "zh": "Mandarin, a gap\n(damage: French)",
    "children": "children's English\n(damage: adults')",
}
KINDS = ("gain", "damage")
INKS = {"study lora": SET_INKS[2], "study full": SET_INKS[1], "ours, unguarded": UNSURE, "ours": BETTER}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="+", type=Path, help="rows-*.json of defaults.py")
    parser.add_argument("--output", type=Path, default=Path("defaults.svg"))
    arguments = parser.parse_args()
    rows = [row for path in arguments.rows for row in json.loads(path.read_text())["rows"]]
    arguments.output.write_text(draw(rows).svg(), encoding="utf-8")
    print(arguments.output)


def draw(rows: Sequence[dict[str, Any]]) -> Figure:
    """One panel for each setting that the rows hold."""
    settings = [name for name in TITLES if any(row["setting"] == name for row in rows)]
    columns = ("setting", "seed", "arm", "gain", "gain_low", "gain_high", "damage", "damage_low", "damage_high")
    return Figure(
        name="defaults",
        caption="Change on the target (left is better) against change elsewhere (down is better), points of error rate "
        "with 95 % intervals, one mark for each training; the arrow is the guard.",
        columns=columns,
        rows=tuple(
            (r["setting"], r["seed"], r["arm"], *(r[kind][end] for kind in KINDS
                                                  for end in ("difference", "low", "high")))
            for r in rows
        ),
        size=(3.4 * len(settings) + 0.6, 4.4),
        paint=lambda canvas: paint(canvas, rows, settings),
    )  # fmt: skip


def paint(canvas: Canvas, rows: Sequence[dict[str, Any]], settings: Sequence[str]) -> None:
    panels = canvas.subplots(1, len(settings), squeeze=False)[0]
    for axes, setting in zip(panels, settings, strict=True):
        own = [row for row in rows if row["setting"] == setting]
        axes.set_title(TITLES[setting], fontsize=9.5)
        axes.axhline(0, color=MUTED, linewidth=0.9)
        axes.axvline(0, color=MUTED, linewidth=0.9)
        axes.grid(color=LINE)
        axes.set_axisbelow(True)
        axes.set_xlabel("points on the target, left is better")
        for row in own:
            mark(axes, row)
        for row in own:
            draw_guard(axes, row, own)
    panels[0].set_ylabel("points elsewhere, down is better")
    marks = legend_marks(panels[0])
    canvas.legend(list(marks.values()), list(marks), loc="outside lower center", ncols=len(marks), frameon=False)


def kind_of(arm: str) -> str:
    """What the legend calls it."""
    if arm.startswith("study"):
        return arm
    return "ours, unguarded" if arm.endswith("unguarded") else "ours"


def mark(axes: Axes, row: dict[str, Any]) -> None:
    gain, damage = ({name: 100 * row[kind][name] for name in ("difference", "low", "high")} for kind in KINDS)
    kind = kind_of(row["arm"])
    ink, faint = INKS[kind], 0.25 if kind == "ours, unguarded" else 0.5
    axes.plot([gain["low"], gain["high"]], [damage["difference"]] * 2, color=ink, linewidth=1, alpha=faint)
    axes.plot([gain["difference"]] * 2, [damage["low"], damage["high"]], color=ink, linewidth=1, alpha=faint)
    axes.plot(gain["difference"], damage["difference"], shape_of(row), color=ink, markersize=5)


def shape_of(row: dict[str, Any]) -> str:
    return "s" if "full" in row["arm"] else "o"


def draw_guard(axes: Axes, row: dict[str, Any], rows: Sequence[dict[str, Any]]) -> None:
    """The arrow from the unguarded model of the same training."""
    bare = [r for r in rows if r["seed"] == row["seed"] and r["arm"] == f"{row['arm']}, unguarded"]
    if not bare:
        return
    start, end = ((100 * r["gain"]["difference"], 100 * r["damage"]["difference"]) for r in (bare[0], row))
    if start != end:
        axes.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": WORSE, "alpha": 0.6})


def legend_marks(axes: Axes) -> dict[str, Any]:
    """Marks without a place; squares are full fine-tuning, circles low-rank updates."""
    marks = {kind: axes.plot([], [], "o", color=ink, markersize=5)[0] for kind, ink in INKS.items()}
    return marks | {"squares full, circles LoRA": axes.plot([], [], "s", color=MUTED, markersize=5)[0]}


if __name__ == "__main__":
    main()
