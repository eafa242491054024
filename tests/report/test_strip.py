import dataclasses

import pytest

from asr_headroom.metrics.significance import Comparison, Interval
from asr_headroom.report.strip import draw_strips


def comparison(difference, half, detectable=0.01):
    return Comparison(
        base=0.2, system=0.2 + difference, difference=difference,
        interval=Interval(difference - half, difference + half), p_value=0.5, standard_error=0.004,
        minimal_detectable_effect=detectable, utterances_needed=0, num_utterances=40, num_clusters=40,
        cluster_by="utterance", population="new utterances",
    )  # fmt: skip


def test_one_scale_for_all_and_in_proportion():
    one, two = draw_strips([comparison(-0.02, 0.005), comparison(0.01, 0.01)])
    assert one.zero == two.zero
    assert not one.compressed
    # Positions are linear in points: from zero, twice the difference is twice the way.
    assert (one.point - one.zero) == pytest.approx(-2 * (two.point - two.zero), abs=0.05)
    assert one.high - one.low == pytest.approx((two.high - two.low) / 2, abs=0.05)
    assert one.band_high - one.zero == pytest.approx(one.zero - one.band_low, abs=0.05)
    for strip in (one, two):
        places = (strip.zero, strip.point, strip.low, strip.high, strip.band_low, strip.band_high)
        assert all(0 <= place <= 100 for place in places)


def test_an_outlier_is_drawn_shorter_and_keeps_its_side_and_order():
    strips = draw_strips([comparison(0.005, 0.003), comparison(-0.004, 0.002), comparison(0.8, 0.05)])
    assert all(strip.compressed for strip in strips)
    small, better, huge = strips
    assert better.point < small.zero < small.point < huge.point
    assert small.point - small.zero > 2


def test_without_interval_there_is_a_point():
    one = dataclasses.replace(comparison(0.01, 0.0), num_clusters=1)
    (strip,) = draw_strips([one])
    assert strip.low == strip.high == strip.point
    assert strip.band_low == strip.band_high == strip.zero


def test_nothing_differs_and_nothing_is_compared():
    (strip,) = draw_strips([dataclasses.replace(comparison(0.0, 0.0), minimal_detectable_effect=0.0)])
    assert strip.zero == strip.point == 50.0
    assert draw_strips([]) == []
