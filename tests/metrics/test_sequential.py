import math

import numpy as np
import pytest

from asr_headroom.errors import ShapeError, UsageError
from asr_headroom.metrics.sequential import BoundedSequence, MeanSequence, Race, sequence_radius


@pytest.mark.parametrize("rows", [30, 200, 5000])
@pytest.mark.parametrize("level", [0.9, 0.99])
def test_radius_is_where_robbins_mixture_reaches_its_bound(rows, level):
    """At the boundary the normal mixture of likelihood ratios is 1 / alpha (Ville's inequality)."""
    alpha = 1 - level
    rho_squared = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha)) + 1) / 200
    total = rows * sequence_radius(rows, 1.7, level=level, planned_rows=200) / 1.7
    width = 1 / rho_squared
    # Integral of exp(c s - c² n / 2) over c ~ normal(0, rho²), by the trapezoid rule.
    c = np.linspace(-8, 8, 200_001) * math.sqrt(rho_squared)
    values = np.exp(c * total - c**2 * rows / 2 - c**2 * width / 2) / math.sqrt(2 * math.pi * rho_squared)
    assert np.trapezoid(values, c) == pytest.approx(1 / alpha, rel=1e-6)


def error_differences(draw, shape):
    """Skewed, over-dispersed differences of error counts, mean zero."""
    hard = draw.gamma(0.7, 2.0, shape)
    return draw.poisson(hard) - draw.poisson(hard)


def test_covers_at_all_times_together():
    draw = np.random.default_rng(0)
    ever_missed = ordinary_missed = 0
    for _ in range(400):
        values = error_differences(draw, 1500)
        rows = np.arange(1, 1501)
        mean = np.cumsum(values) / rows
        deviation = np.sqrt(np.maximum(np.cumsum(values**2) / rows - mean**2, 0) * rows / np.maximum(rows - 1, 1))
        radius = np.array([sequence_radius(int(n), 1.0) for n in rows[29:]])
        ever_missed += (np.abs(mean[29:]) > radius * deviation[29:]).any()
        ordinary_missed += (np.abs(mean[29:]) > 1.96 * deviation[29:] / np.sqrt(rows[29:])).any()
    assert ever_missed / 400 <= 0.05 + 0.033
    # What the sequence is for: an ordinary interval watched in the same way misses often.
    assert ordinary_missed / 400 > 0.3


def test_stream_equals_the_whole():
    values = error_differences(np.random.default_rng(1), 400)
    stream = MeanSequence()
    for start in range(0, 400, 7):
        stream.update(values[start : start + 7])
    radius = sequence_radius(400, float(values.std(ddof=1)))
    assert (stream.interval.low, stream.interval.high) == pytest.approx(
        (values.mean() - radius, values.mean() + radius)
    )


def test_silent_before_enough_rows():
    stream = MeanSequence()
    stream.update([1.0] * 29)
    assert (stream.interval.low, stream.interval.high) == (-math.inf, math.inf)
    stream.update([1.0, 2.0])
    assert 0 < stream.interval.low < stream.interval.high


def test_bounded_sequence_covers_at_all_times_and_narrows():
    draw = np.random.default_rng(2)
    missed = 0
    for _ in range(150):
        values = np.clip(error_differences(draw, 300), -10, 10)
        sequence = BoundedSequence(-10, 10)
        for start in range(0, 300, 20):
            sequence.update(values[start : start + 20])
            missed += 0.0 not in sequence.interval
            if 0.0 not in sequence.interval:
                break
    assert missed / 150 <= 0.05
    assert sequence.interval.high - sequence.interval.low < 6


def test_first_bet_by_hand():
    sequence = BoundedSequence(0, 1, level=0.9)
    sequence.update([0.75])
    # Variance 1/4 before any row: the bet sqrt(2 ln 20 / (0.25 ln 2)) = 5.9 is held at 1/2.
    penalty = 0.25**2 * (math.log(2) - 0.5)
    radius = (math.log(20) + penalty) / 0.5
    assert radius > 1
    assert (sequence.interval.low, sequence.interval.high) == (0.0, 1.0)
    assert (sequence._weighted / sequence._bets, sequence._penalty) == pytest.approx((0.75, penalty))


def race_of(draw, means, rows, **options):
    hard = draw.gamma(1.0, 1.0, rows)
    errors = {name: draw.poisson(hard * mean) for name, mean in means.items()}
    race = Race(list(means), **options)
    for start in range(0, rows, 20):
        race.update({name: errors[name][start : start + 20] for name in race.running})
        if len(race.running) == 1:
            break
    return race


def test_equal_systems_are_seldom_dropped():
    draw = np.random.default_rng(3)
    dropped = sum(len(race_of(draw, dict.fromkeys("abcd", 2.0), 600).running) < 4 for _ in range(200))
    assert dropped / 200 <= 0.05 + 0.04


def test_the_worse_are_dropped_early_and_the_best_stays():
    draw = np.random.default_rng(4)
    races = [race_of(draw, {"good": 2.0, "bad": 2.8, "awful": 6.0}, 1000) for _ in range(30)]
    assert all(race.running == ["good"] for race in races)
    standings = races[0].standings()
    assert [s.name for s in standings] == ["good", "bad", "awful"]
    assert standings[0].dropped_by is None
    assert {s.dropped_by for s in standings[1:]} <= {"good", "bad"}
    rows = {
        name: np.mean([s.rows for r in races for s in r.standings() if s.name == name]) for name in ("bad", "awful")
    }
    assert rows["awful"] <= 60 < rows["bad"] < 400


def test_differences_mirror():
    race = Race(["a", "b"])
    race.update({"a": [3, 1] * 40, "b": [1, 2] * 40})
    there, back = race.difference("a", "b"), race.difference("b", "a")
    assert (there.low, there.high) == (-back.high, -back.low)
    assert there.level == pytest.approx(0.95)


def test_refusals():
    with pytest.raises(UsageError, match="names of their own"):
        Race(["a", "a"])
    with pytest.raises(UsageError, match="two or more systems"):
        Race(["a"])
    with pytest.raises(UsageError, match="level of a race is 95"):
        Race(["a", "b"], level=95)
    race = Race(["a", "b"])
    with pytest.raises(UsageError, match="the batch lacks b"):
        race.update({"a": [1]})
    with pytest.raises(ShapeError, match="one number per utterance"):
        race.update({"a": [1], "b": [1, 2]})
    with pytest.raises(UsageError, match="finite"):
        race.update({"a": [1], "b": [float("nan")]})
    with pytest.raises(UsageError, match="'a' and 'c' do not race"):
        race.difference("a", "c")
    with pytest.raises(UsageError, match=r"bounds 1 and 0"):
        BoundedSequence(1, 0)
    with pytest.raises(UsageError, match=r"not within the bounds -1 … 1"):
        BoundedSequence(-1, 1).update([2])
