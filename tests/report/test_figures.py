import csv
import dataclasses
import xml.etree.ElementTree as ElementTree

import pytest

from asr_headroom.report.figures import all_figures, difference_figure, frontier_figure, save_figures
from asr_headroom.report.tables import build_tables


def texts_of(svg):
    return [node.text for node in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


@pytest.fixture
def tables(base, tuned, bigger, other_test):
    return build_tables([base, tuned, bigger, other_test])


def test_frontier_plots_the_numbers_of_the_table(tables):
    rows = list(csv.DictReader(frontier_figure(tables[0]).csv().splitlines()))
    assert [row["system"] for row in rows] == ["base", "base · lora", "bigger"]
    assert [float(row["wer"]) for row in rows] == pytest.approx([20 / 360, 5 / 360, 0])
    assert rows[1]["base"] == "base"
    for row in rows[:2]:
        assert float(row["ci_low"]) < float(row["wer"]) < float(row["ci_high"])
    # No error at all: a resampled interval would be a point.
    assert (rows[2]["ci_low"], rows[2]["ci_high"]) == ("", "")


def test_every_system_is_named_once_in_the_plot(tables):
    texts = texts_of(frontier_figure(tables[0]).svg())
    assert [texts.count(name) for name in ("base", "base · lora", "bigger")] == [1, 1, 1]


def test_names_do_not_cover_each_other(base):
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation

    from asr_headroom.report.drawing import STYLE

    # Eight systems at one spot, as far as the eye can tell.
    runs = [
        dataclasses.replace(
            base,
            run=dataclasses.replace(base.run, name=f"system {i}", model={"parameters": 1_000_000 + 40_000 * i}),
        )
        for i in range(8)
    ]
    figure = frontier_figure(build_tables(runs)[0])
    with rc_context(STYLE):
        canvas = FigureCanvasAgg(Figure(figsize=figure.size, layout="constrained"))
        figure.paint(canvas.figure)
        (axes,) = canvas.figure.axes
        canvas.draw()
        labels = [child for child in axes.texts if isinstance(child, Annotation) and child.get_text()]
        boxes = [label.get_bbox_patch() or super(Annotation, label).get_window_extent() for label in labels]
    assert len(boxes) == 8
    for i, box in enumerate(boxes):
        for other in boxes[i + 1 :]:
            assert not box.overlaps(other)


def test_difference_plots_every_comparison(tables):
    figure = difference_figure(tables)
    (row,) = csv.DictReader(figure.csv().splitlines())
    assert row["verdict"] == "better"
    assert float(row["difference"]) == pytest.approx(-15 / 360)
    assert "−4.17  better" in texts_of(figure.svg())


def test_one_outlier_does_not_squeeze_the_rest(base, tuned):
    failed = dataclasses.replace(
        base,
        run=dataclasses.replace(base.run, name="failed", parent="base"),
        predictions=[dataclasses.replace(p, hypothesis="x " * 60) for p in base.predictions],
    )
    failed = dataclasses.replace(failed, run=dataclasses.replace(failed.run, normalizer={"id": "fr"}))
    slightly = [dataclasses.replace(tuned, run=dataclasses.replace(tuned.run, name=f"t{i}")) for i in range(3)]
    svg = difference_figure(build_tables([base, *slightly, failed])).svg()
    assert any("compressed beyond" in text for text in texts_of(svg) if text)


def test_nothing_to_plot(base, other_test):
    assert difference_figure(build_tables([base])) is None
    assert frontier_figure(build_tables([other_test])[0]) is None


def test_svg_takes_its_colours_from_the_page_and_is_the_same_every_time(tables):
    figure = frontier_figure(tables[0])
    svg = figure.svg()
    assert "var(--ink, #1c1b1a)" in svg
    assert "var(--better, " in svg
    assert svg == figure.svg()
    root = ElementTree.fromstring(svg)
    assert root.get("width") is None
    assert root.get("viewBox")


def test_hostile_names_stay_text(base, tuned):
    name = "a <script>alert(1)</script> \"$x$\" & 'b' 你好"
    hostile = dataclasses.replace(tuned, run=dataclasses.replace(tuned.run, name=name))
    tables = build_tables([base, hostile])
    for figure in (frontier_figure(tables[0]), difference_figure(tables)):
        svg = figure.svg()
        assert "<script" not in svg
        assert name in texts_of(svg)


def test_files_on_request(tables, tmp_path):
    paths = save_figures(tables, tmp_path / "plots")
    # Of the second test no size is known, and nothing is compared on two.
    stems = ("difference", "distribution-1", "distribution-2", "frontier-1", "frontier-minutes-1")
    assert sorted(path.name for path in paths) == [f"{stem}.{end}" for stem in stems for end in ("csv", "png", "svg")]
    assert (tmp_path / "plots" / "difference.png").read_bytes().startswith(b"\x89PNG")


def test_cost_is_drawn_when_the_hour_has_a_price(tables):
    priced = {stem: figure for stem, figure in all_figures(tables, price_per_hour=3.0) if "cost" in stem}
    (figure,) = priced.values()
    rows = list(csv.DictReader(figure.csv().splitlines()))
    assert [(row["system"], float(row["cost"])) for row in rows] == [
        ("base", pytest.approx(0.5 / 60 * 3)),
        ("base · lora", pytest.approx(3.5 / 60 * 3)),
    ]
    assert "Without cost and not shown: bigger" in figure.caption


def test_all_rates_zero_still_draws(bigger):
    perfect = [dataclasses.replace(bigger, run=dataclasses.replace(bigger.run, name=name)) for name in ("a", "b")]
    (table,) = build_tables(perfect)
    assert "a" in texts_of(frontier_figure(table).svg())
    assert "0.00  cannot tell" in texts_of(difference_figure([table]).svg())
