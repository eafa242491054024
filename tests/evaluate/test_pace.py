"""Transcription against a clock turned by hand: budgets, minutes, requests to stop."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import signal

import pytest

from asr_headroom.budget import Budget
from asr_headroom.data.manifest import Utterance
from asr_headroom.errors import BudgetError, Stopped
from asr_headroom.evaluate.transcribe import transcribe_manifest
from asr_headroom.models.decoding import DecodingOptions, Hypothesis
from asr_headroom.models.protocols import ModelCard
from asr_headroom.results.schema import RunInfo
from asr_headroom.results.store import ResultsWriter, count_finished, load_results, load_run
from asr_headroom.stopping import StopRequests
from asr_headroom.text.normalize import get_normalizer

SPEECH = [
    Utterance(id=f"u{i}", audio=b"", text=f"word {i}", language="en", duration=9.0 - i / 2) for i in range(8)
]  # longest first, so batches of three are 0-2, 3-5, 6-7


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class TimedModel:
    """Hears every word, and takes the seconds it is told: the n-th batch that it hears the n-th."""

    card = ModelCard(
        model_id="timed", family="test", sampling_rate=16_000, max_duration=None, languages=("en",), parameters=0,
        lora_targets="",
    )  # fmt: skip

    def __init__(self, clock, seconds, after=lambda number: None):
        self._clock, self._seconds, self._after = clock, list(seconds), after
        self.batches = []

    def batch_key(self, utterance):
        return 0

    def decoding_state(self):
        return {}

    def transcribe(self, batch, options):
        self._clock.now += self._seconds[len(self.batches)]
        self.batches.append([utterance.id for utterance in batch])
        self._after(len(self.batches))
        return [Hypothesis(text=utterance.text) for utterance in batch]


def session(directory, clock, model, *, budget=None, stops=None, batch_size=3):
    with ResultsWriter(directory, RunInfo(name="x")) as writer:
        return transcribe_manifest(
            model,
            SPEECH,
            DecodingOptions(),
            normalizer=get_normalizer("en"),
            batch_size=batch_size,
            writer=writer,
            budget=Budget(budget, clock=clock) if budget else None,
            stops=stops,
            clock=clock,
        )


def minutes(directory):
    return load_run(directory).minutes["transcribe"]


def test_a_batch_that_would_not_end_in_time_is_not_begun(tmp_path):
    clock = Clock()
    model = TimedModel(clock, [3, 3, 2])
    with pytest.raises(
        BudgetError, match=r"budget of 7 s .* 6 of 8 utterances .*the next 2 take about 2 s and 1 s are"
    ):
        session(tmp_path / "cut", clock, model, budget=7)
    assert model.batches == [["u0", "u1", "u2"], ["u3", "u4", "u5"]]
    assert clock.now == 6
    assert minutes(tmp_path / "cut") == pytest.approx(6 / 60)
    assert load_run(tmp_path / "cut").status == "running"
    # A new session with time enough goes on, to the same file as a run that was never stopped.
    session(tmp_path / "cut", clock, TimedModel(clock, [2]), budget=2)
    session(tmp_path / "whole", clock, TimedModel(clock, [3, 3, 2]))
    assert minutes(tmp_path / "cut") == pytest.approx(8 / 60)
    assert (tmp_path / "cut/predictions.jsonl").read_bytes() == (tmp_path / "whole/predictions.jsonl").read_bytes()


def test_what_fits_exactly_is_done(tmp_path):
    clock = Clock()
    assert len(session(tmp_path, clock, TimedModel(clock, [3, 3, 2]), budget=8)) == 8


def test_without_time_nothing_is_begun(tmp_path):
    clock = Clock()
    spent = Budget(5, used=5, clock=clock)
    with pytest.raises(BudgetError, match=r"0 of 8 utterances transcribed \(nothing is left\)"):
        transcribe_manifest(
            TimedModel(clock, []),
            SPEECH,
            DecodingOptions(),
            normalizer=get_normalizer("en"),
            batch_size=3,
            budget=spent,
        )


def test_the_first_batch_warms_up_and_the_slowest_other_one_counts(tmp_path):
    clock = Clock()
    model = TimedModel(clock, [10, 1, 8, 1, 1, 1, 1, 1])
    with pytest.raises(BudgetError, match=r"4 of 8 utterances .*the next 1 take about 8 s and 7 s are left"):
        session(tmp_path, clock, model, budget=27, batch_size=1)


def test_a_resumed_run_knows_its_pace_from_the_ledger(tmp_path):
    clock = Clock()
    with pytest.raises(BudgetError):
        session(tmp_path, clock, TimedModel(clock, [6, 6]), budget=12.5)
    untouched = TimedModel(clock, [])
    with pytest.raises(BudgetError, match=r"6 of 8 .*the next 2 take about 4 s and 3 s are left"):
        session(tmp_path, clock, untouched, budget=3)
    assert untouched.batches == []


def test_no_budget_is_overdrawn_where_later_batches_are_not_slower(tmp_path):
    draw = random.Random(3)
    for number in range(60):
        clock = Clock()
        costs = sorted((draw.uniform(0.1, 5) for _ in range(8)), reverse=True)
        budget = draw.uniform(costs[0], 1.1 * sum(costs))
        try:
            session(tmp_path / str(number), clock, TimedModel(clock, costs), budget=budget, batch_size=1)
        except BudgetError:
            # And it is used: what is left is less than the slowest batch that was measured.
            assert budget - clock.now < costs[0]
        assert clock.now <= budget


def test_the_forecast_says_whether_the_rest_fits(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    clock = Clock()
    # The second utterance lasts 8.5 s and took 20 s; the six to come last 8.0 + 7.5 + … + 5.5 = 40.5 s.
    for budget, answer in ((241, "they fit"), (239, "they may not fit")):
        caplog.clear()
        with contextlib.suppress(BudgetError):
            session(tmp_path / str(budget), clock, TimedModel(clock, [100] + [20] * 7), budget=budget, batch_size=1)
        assert "8 utterances to transcribe, 58 s of audio, in 8 batches; " in caplog.text
        assert "the other 6 utterances, 40 s of audio, take 1.6 min to 2.0 min at the pace of" in caplog.text
        assert f"of the budget are left: {answer}" in caplog.text


def test_minutes_are_on_disk_while_it_runs(tmp_path):
    """After a kill at any moment the ledger lacks at most the batch at work and one second."""
    clock = Clock()
    costs = [0.25, 0.25, 2.0, 0.5, 0.25, 0.25, 0.25, 3.0]
    seen = []

    def look(number):
        stored = json.loads((tmp_path / "run.json").read_text())["minutes"].get("transcribe", 0.0) * 60
        seen.append(clock.now - costs[number - 1] - stored)

    session(tmp_path, clock, TimedModel(clock, costs, after=look), batch_size=1)
    assert len(seen) == 8
    assert all(-1e-6 <= lost < 1 for lost in seen)
    assert max(seen) > 0
    assert minutes(tmp_path) == pytest.approx(sum(costs) / 60)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_session_after_its_batch(tmp_path, number, code):
    clock = Clock()

    def ask(batch):
        if batch == 2:
            os.kill(os.getpid(), number)

    with StopRequests() as stops, pytest.raises(Stopped, match="stopped after 6 of 8 utterances; the same") as stopped:
        session(tmp_path, clock, TimedModel(clock, [1, 1, 1], after=ask), stops=stops)
    assert stopped.value.exit_code == code
    assert count_finished(tmp_path) == 6
    assert minutes(tmp_path) == pytest.approx(2 / 60)
    session(tmp_path, clock, TimedModel(clock, [1]))
    assert len(load_results(tmp_path).predictions) == 8
