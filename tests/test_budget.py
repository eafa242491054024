"""Budgets and ledgers on a clock turned by hand."""

from __future__ import annotations

import math

import pytest

from asr_headroom.budget import Budget, Ledger, parse_budget
from asr_headroom.errors import ConfigError


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("45m", 2700), ("1h30m", 5400), ("90 s", 90), ("1.5H", 5400), ("2min", 120), ("4gpu-h", 14400)],
)
def test_durations(text, seconds):
    assert parse_budget(text) == seconds


def test_gpu_hours_are_shared_by_the_gpus():
    assert parse_budget("4gpu-h", num_gpus=8) == 1800


@pytest.mark.parametrize("text", ["", "5", "m", "5 parsecs", "-3m", "0m", "5m!", "1h 5"])
def test_what_is_not_a_duration(text):
    with pytest.raises(ConfigError, match="budget"):
        parse_budget(text)


def test_a_budget_counts_what_earlier_sessions_used():
    clock = Clock()
    budget = Budget(60.0, used=20.0, clock=clock)
    clock.now += 30
    assert (budget.elapsed, budget.remaining) == (50.0, 10.0)
    clock.now += 30
    assert budget.remaining == -20.0
    assert Budget(None, clock=clock).remaining == math.inf


def test_nested_stages_are_not_counted_twice():
    clock = Clock()
    ledger = Ledger(clock=clock)
    with ledger.stage("train"):
        clock.now += 60
        with ledger.stage("evaluate"):
            clock.now += 30
        clock.now += 60
    clock.now += 1000
    with ledger.stage("train"):
        clock.now += 6
    assert ledger.minutes == {"train": 2.1, "evaluate": 0.5}


def test_a_stage_that_fails_is_booked_too():
    clock = Clock()
    ledger = Ledger(clock=clock)

    def failing_stage():
        with ledger.stage("train"):
            clock.now += 60
            raise RuntimeError

    with pytest.raises(RuntimeError):
        failing_stage()
    assert ledger.minutes == {"train": 1.0}
