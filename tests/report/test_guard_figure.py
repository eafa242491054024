import csv
import dataclasses
import xml.etree.ElementTree as ElementTree

import pytest
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from asr_headroom.report.drawing import STYLE
from asr_headroom.report.figures import save_figures
from asr_headroom.report.guard_figure import guard_figure
from asr_headroom.report.tables import build_tables


def guarded(results, facts, name=None):
    run = dataclasses.replace(results.run, name=name or results.run.name, model={**results.run.model, "guard": facts})
    return dataclasses.replace(results, run=run)


def drawn(figure):
    """The panels as matplotlib drew them."""
    with rc_context(STYLE):
        canvas = FigureCanvasAgg(Figure(figsize=figure.size, layout="constrained"))
        figure.paint(canvas.figure)
        canvas.draw()
    return [axes for axes in canvas.figure.axes if axes.axison]


def texts_of(svg):
    return [node.text for node in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_no_guard_no_figure(base, tuned):
    assert guard_figure(build_tables([base, tuned])) is None


def test_every_point_of_every_speech_set_is_in_the_csv(base, tuned, guard):
    figure = guard_figure(build_tables([base, guarded(tuned, guard(0.5))]))
    rows = list(csv.DictReader(figure.csv().splitlines()))
    assert [(row["set"], row["alpha"]) for row in rows] == [
        (name, alpha) for name in ("a dev", "elsewhere dev") for alpha in ("0.0", "0.5", "1.0")
    ]
    assert [row["delivered"] for row in rows] == ["False", "True", "False"] * 2
    assert float(rows[5]["difference"]) == pytest.approx(0.2)
    assert [float(rows[5][key]) for key in ("ci_low", "ci_high")] == pytest.approx([0.18, 0.22])
    assert rows[0]["ci_low"] == ""


def test_lines_stand_where_the_facts_put_them(base, tuned, guard):
    (axes,) = drawn(guard_figure(build_tables([base, guarded(tuned, guard(0.5))])))
    lines = [[float(y) for y in line.get_ydata()] for line in axes.lines if len(line.get_xdata()) == 3]
    assert lines == [pytest.approx([0, -5, -10]), pytest.approx([0, 1, 20])]
    filled = [
        line for line in axes.lines if len(line.get_xdata()) == 1 and line.get_markerfacecolor() == line.get_color()
    ]
    assert [float(line.get_ydata()[0]) for line in filled] == pytest.approx([-5, 1])
    assert all(abs(float(line.get_xdata()[0]) - 0.5) < 0.03 for line in filled)


def test_one_panel_per_system_however_many_tests_it_has(base, tuned, guard):
    def elsewhere(results):
        run = dataclasses.replace(results.run, data={"name": "second", "fingerprint": "2"})
        return dataclasses.replace(results, run=run)

    one, two = guarded(tuned, guard(0.5)), guarded(tuned, guard(1.0), "second system")
    figure = guard_figure(build_tables([base, one, two, elsewhere(base), elsewhere(one)]))
    assert [axes.get_title(loc="left") for axes in drawn(figure)] == ["base · lora", "second system"]
    texts = texts_of(figure.svg())
    assert [texts.count(text) for text in ("delivered 0.5", "delivered 1", "a dev, WER (target)")] == [1, 1, 1]
    assert "elsewhere dev, CER (guard)" in texts


def test_a_disaster_does_not_squeeze_the_other_panels(base, tuned, guard):
    disaster = guard(0.0)
    disaster["sets"][1] |= {"differences": [0.0, 2.0, 5.0], "ci_low": [0.0, 1.9, 4.9], "ci_high": [0.0, 2.1, 5.1]}
    alone = guard_figure(build_tables([base, guarded(tuned, guard()), guarded(tuned, guard(), "b")]))
    assert "own scale" not in alone.caption
    assert len({axes.get_ylim() for axes in drawn(alone)}) == 1
    figure = guard_figure(build_tables([base, guarded(tuned, guard()), guarded(tuned, disaster, "b")]))
    assert "each panel has its own scale" in figure.caption
    low, high = (axes.get_ylim()[1] for axes in drawn(figure))
    assert low < 30 < 500 < high


def test_svg_takes_its_colours_from_the_page_and_names_stay_text(base, tuned, guard):
    figure = guard_figure(build_tables([base, guarded(tuned, guard(), 'a <script>alert("1")</script> $x$')]))
    svg = figure.svg()
    assert "var(--set-1, #0072b2)" in svg
    assert "<script" not in svg
    assert 'a <script>alert("1")</script> $x$' in texts_of(svg)
    assert svg == figure.svg()


def test_it_is_saved_like_the_others(base, tuned, guard, tmp_path):
    names = {path.name for path in save_figures(build_tables([base, guarded(tuned, guard())]), tmp_path)}
    assert {"guard.csv", "guard.png", "guard.svg"} <= names
