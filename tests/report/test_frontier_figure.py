import csv
import random

from asr_headroom.report.frontier_figure import frontier_figure, pareto
from asr_headroom.report.tables import build_tables


def beaten(points, index):
    """Whether some other point costs at most as much, errs at most as much, and is better in one of the two."""
    x, y = points[index]
    return any(a <= x and b <= y and (a, b) != (x, y) for a, b in points)


def test_frontier_is_what_no_other_beats():
    rng = random.Random(0)
    for _ in range(200):
        points = [(rng.randint(1, 6), rng.randint(1, 6)) for _ in range(rng.randint(1, 8))]
        kept = {points[index] for index in pareto(points)}
        assert kept == {points[i] for i in range(len(points)) if not beaten(points, i)}


def test_equal_points_stand_once_on_the_frontier():
    assert pareto([(1, 1), (1, 1)]) == [0]


def test_rows_say_who_is_on_the_frontier(base, tuned, bigger):
    rows = list(csv.DictReader(frontier_figure(build_tables([base, tuned, bigger])[0]).csv().splitlines()))
    # As many weights as the base and fewer errors; the bigger one pays more and makes none.
    assert [row["on_frontier"] for row in rows] == ["False", "True", "True"]


def test_minutes_are_of_all_stages(base, tuned):
    figure = frontier_figure(build_tables([base, tuned])[0], "minutes")
    rows = list(csv.DictReader(figure.csv().splitlines()))
    assert [float(row["minutes"]) for row in rows] == [0.5, 3.5]
    assert "minutes" in figure.svg()


def test_without_a_price_there_is_no_cost(base):
    assert frontier_figure(build_tables([base])[0], "cost") is None
