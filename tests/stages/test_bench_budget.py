"""``bench`` inside a budget, over sessions, and stopped by signals."""

from __future__ import annotations

import dataclasses
import os
import signal

import pytest

from asr_headroom.cli.main import main
from asr_headroom.data.manifest import write_manifest
from asr_headroom.errors import BudgetError, ConfigError
from asr_headroom.models.registry import load_model
from asr_headroom.results.store import load_run
from asr_headroom.stages import bench as stage
from asr_headroom.stages.bench import BenchConfig, bench
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_whisper

LOAD_SECONDS = 5.0


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class TimedModel:
    """A model that takes a second per utterance, and calls ``after`` when it has heard a batch."""

    def __init__(self, model, clock, after=lambda: None):
        self._model, self._clock, self._after = model, clock, after

    def __getattr__(self, name):
        return getattr(self._model, name)

    def transcribe(self, batch, options):
        hypotheses = self._model.transcribe(batch, options)
        self._clock.now += len(batch)
        self._after()
        return hypotheses


@pytest.fixture
def config(tmp_path) -> BenchConfig:
    """One tiny model on six utterances in batches of two."""
    tiny_whisper().save_pretrained(tmp_path / "tiny")
    utterances = []
    for text in ("abc", "cab", "bad", "dada", "face", "ab"):
        path = tmp_path / f"{text}.wav"
        path.write_bytes(tone_utterance(text).audio)
        utterances.append(dataclasses.replace(tone_utterance(text), audio=path))
    write_manifest(tmp_path / "speech.jsonl", utterances)
    return BenchConfig(
        models=(str(tmp_path / "tiny"),),
        data=(str(tmp_path / "speech.jsonl"),),
        output=str(tmp_path / "out"),
        batch_size=2,
        max_new_tokens=6,
    )


@pytest.fixture
def clock(monkeypatch) -> Clock:
    """A clock that loading and transcribing turn; its ``loads`` counts the models loaded."""
    clock = Clock()
    clock.loads, clock.after = 0, lambda: None

    def load(*words, **settings):
        clock.now += LOAD_SECONDS
        clock.loads += 1
        return TimedModel(load_model(*words, **settings), clock, lambda: clock.after())

    monkeypatch.setattr(stage, "load_model", load)
    return clock


def test_a_budget_holds_over_all_sessions(config, clock, tmp_path):
    cut = dataclasses.replace(config, budget="10s")
    directory = tmp_path / "out" / "tiny" / f"{tmp_path.name}-speech"
    with pytest.raises(BudgetError, match=r"4 of 6 .*complete runs: none; the same command with a larger --budget"):
        bench(cut, clock=clock)
    assert clock.now == LOAD_SECONDS + 4
    assert load_run(directory).status == "running"
    assert load_run(directory).minutes == pytest.approx({"load": LOAD_SECONDS / 60, "transcribe": 4 / 60})
    # The same budget again: one second is left, and loading takes more; that is booked, so there is no third load.
    for loads in (2, 2):
        with pytest.raises(BudgetError, match=r"4 of 6 utterances transcribed \(nothing is left\)"):
            bench(cut, clock=clock)
        assert clock.loads == loads
    (result,) = bench(dataclasses.replace(config, budget="21s"), clock=clock)
    assert (result.run.status, result.run.config["budget"]) == ("complete", "21s")
    assert result.run.minutes == pytest.approx({"load": 3 * LOAD_SECONDS / 60, "transcribe": 6 / 60})
    (whole,) = bench(dataclasses.replace(config, output=str(tmp_path / "whole")), clock=clock)
    files = [(run.path / "predictions.jsonl").read_bytes() for run in (result, whole)]
    assert files[0] == files[1]


def test_what_is_complete_is_named_and_read_without_budget(config, clock, tmp_path):
    tiny_whisper(seed=1).save_pretrained(tmp_path / "other")
    both = dataclasses.replace(config, models=(*config.models, str(tmp_path / "other")), budget="19s")
    # 5 + 6 for the first, 5 for the other's loading, 2 for its first batch; 1 is left.
    with pytest.raises(BudgetError, match=r"out.other.*2 of 6 utterances .*complete runs: .*out.tiny.[^,]*speech; the"):
        bench(both, clock=clock)
    before = clock.now
    (result,) = bench(dataclasses.replace(config, budget="1s"), clock=clock)
    assert (result.run.status, clock.now) == ("complete", before)


def test_what_another_set_of_the_same_model_took_counts(config, clock, tmp_path):
    (tmp_path / "again.jsonl").write_text((tmp_path / "speech.jsonl").read_text())
    two = dataclasses.replace(config, data=(*config.data, str(tmp_path / "again.jsonl")), budget="17s")
    first, second = bench(two, clock=clock)
    assert clock.now == LOAD_SECONDS + 12
    assert first.run.minutes == pytest.approx({"load": LOAD_SECONDS / 60, "transcribe": 6 / 60})
    assert second.run.minutes == pytest.approx({"transcribe": 6 / 60})


def test_a_budget_that_is_none_is_refused(config):
    with pytest.raises(ConfigError, match="budget 'soon' is not a duration"):
        dataclasses.replace(config, budget="soon")
    assert dataclasses.replace(config, budget="2gpu-h").budget == "2gpu-h"


def command(config, *more):
    words = ["bench", "--models", *config.models, "--data", *config.data, "--output", config.output]
    return [*words, "--batch-size", "2", "--max-new-tokens", "6", *more]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_command_in_order(config, clock, number, code, capsys):
    clock.after = lambda: os.kill(os.getpid(), number)
    assert main(command(config)) == code
    assert "stopped after 2 of 6 utterances; the same command goes on" in capsys.readouterr().err
    clock.after = lambda: None
    assert main(command(config)) == 0


def test_a_signal_in_the_last_batch_leaves_a_complete_run(config, clock, capsys):
    clock.after = lambda: clock.now == LOAD_SECONDS + 6 and os.kill(os.getpid(), signal.SIGTERM)
    assert main(command(config)) == 143
    assert "complete; the same command goes on" in capsys.readouterr().err
    clock.after = lambda: pytest.fail("transcribed again")
    assert main(command(config)) == 0


def test_the_command_says_when_its_budget_is_used_up(config, capsys):
    assert main(command(config, "--budget", "0.001s")) == 1
    error = capsys.readouterr().err
    assert "0 of 6 utterances transcribed" in error
    assert "the same command with a larger --budget goes on" in error
