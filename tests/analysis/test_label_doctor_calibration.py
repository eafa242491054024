"""The regression is at its optimum, shares are found again, and p-values keep their promise."""

from __future__ import annotations

import numpy as np
import pytest

from asr_headroom.analysis.label_doctor_calibration import calibrate, fit_softmax


def penalised_log_likelihood(beta, rows, classes, ridge):
    """Written from the definition, one row at a time."""
    counts = np.bincount(classes)
    total = 0.0
    for row, own in zip(rows, classes, strict=True):
        logits = beta @ row
        weight = len(classes) / (len(counts) * counts[own])
        total += weight * (logits[own] - np.log(np.exp(logits).sum()))
    return total - ridge / 2 * (beta**2).sum()


def test_no_step_in_any_direction_is_better():
    generator = np.random.default_rng(0)
    classes = np.repeat([0, 1, 2], [50, 30, 20])
    rows = np.column_stack([generator.normal(size=(100, 2)) + classes[:, None], np.ones(100)])
    beta = fit_softmax(rows, classes, 3, ridge=0.7)
    best = penalised_log_likelihood(beta, rows, classes, 0.7)
    assert not beta[0].any()
    for a in (1, 2):
        for column in range(3):
            for step in (-1e-3, 1e-3):
                moved = beta.copy()
                moved[a, column] += step
                assert penalised_log_likelihood(moved, rows, classes, 0.7) < best


def evidence(shares, count, seed, distance=4.0):
    """Three columns; a kind of error moves its own. Returns also which clips are wrong."""
    generator = np.random.default_rng(seed)
    kinds = ("swapped", "truncated", "changed")

    def of(kind, number):
        rows = generator.normal(size=(number, 3))
        if kind is not None:
            rows[:, kinds.index(kind)] += distance
        return rows

    truth = generator.choice([None, *kinds], p=[1 - sum(shares), *shares], size=count)
    given = np.vstack([of(kind, 1) for kind in truth])
    return {None: given, **{kind: of(kind, count) for kind in kinds}}, truth


def test_shares_and_kinds_are_found():
    found, truth = evidence((0.04, 0.03, 0.02), 2_000, 1, distance=5.0)
    result = calibrate(found, range(2_000))
    for kind, share in zip(result.kinds, (0.04, 0.03, 0.02), strict=True):
        assert result.shares[kind] == pytest.approx(share, abs=0.012)
    called = np.array(result.kinds)[result.probabilities.argmax(axis=1)]
    wrong = truth != None  # noqa: E711
    assert (called[wrong] == truth[wrong]).mean() > 0.95
    assert (result.p_values[wrong] <= 0.05).mean() > 0.9
    assert (result.p_values[~wrong] <= 0.05).mean() <= 0.05
    # Those made on purpose are drawn like the real ones, so they are found as often.
    made = np.mean([(result.made_p_values[kind] <= 0.05).mean() for kind in result.kinds])
    assert made == pytest.approx((result.p_values[wrong] <= 0.05).mean(), abs=0.06)


@pytest.mark.parametrize("seed", range(5))
def test_without_errors_the_false_alarms_are_those_asked_for(seed):
    found, _ = evidence((0.0, 0.0, 0.0), 600, seed)
    result = calibrate(found, range(600))
    for level in (0.01, 0.05, 0.2):
        assert (result.p_values <= level).mean() <= level + 0.01
    assert sum(result.shares.values()) < 0.03


def test_many_errors_do_not_hide_behind_each_other():
    found, truth = evidence((0.2, 0.0, 0.0), 1_000, 3, distance=6.0)
    result = calibrate(found, range(1_000))
    wrong = truth == "swapped"
    assert (result.p_values[wrong] <= 0.05).mean() > 0.7
    assert (result.p_values[~wrong] <= 0.05).mean() <= 0.05
    assert result.shares["swapped"] > 0.14


def test_a_kind_that_some_clips_are_too_short_for():
    found, _ = evidence((0.05, 0.0, 0.0), 300, 4)
    found["truncated"][:100] = np.nan
    result = calibrate(found, range(300))
    assert np.isfinite(result.probabilities).all()
    assert result.probabilities.shape == (300, 3)


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_right_transcripts_that_look_wrong_beyond_doubt_come_on_top_of_the_false_alarms(share):
    generator = np.random.default_rng(0)
    unheard = generator.random(1000) < share
    evidence = {
        None: generator.normal(0, 1, (1000, 3)) + 4 * unheard[:, None],
        "swapped": generator.normal(4, 1, (1000, 3)),
        "truncated": generator.normal([3, 0, 0], 1, (1000, 3)),
        "extended": generator.normal([0, 3, 0], 1, (1000, 3)),
        "changed": generator.normal([0, 0, 1], 1, (1000, 3)),
    }
    found = calibrate(evidence, generator.integers(0, 50, 1000))
    suspects = np.mean(found.p_values <= 0.05)
    certain = np.mean(found.probabilities.sum(axis=1) >= 0.95)
    assert suspects <= 0.05 + certain + 1e-3
    assert suspects > 0.05 + 0.8 * share - 0.01
