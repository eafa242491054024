"""A run that hurts a guard set is stopped once that is certain, and not before."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from asr_headroom.metrics.error_rate import ErrorCounts
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_whisper
from asr_headroom.text.normalize import get_normalizer
from asr_headroom.train.config import GuardConfig, TrainConfig
from asr_headroom.train.damage import DamageWatch
from asr_headroom.train.guard import EvaluationSet
from asr_headroom.train.loop import Training

TEXTS = [f"{a}{b}{c}" for a in "abc" for b in "def" for c in "gabc"]
SPEECH = [tone_utterance(text, id=text) for text in TEXTS]
NORMALIZER = get_normalizer("basic")
DEV = EvaluationSet(name="dev", role="target", utterances=SPEECH[:4], normalizer=NORMALIZER)
OTHER = EvaluationSet(name="other", role="guard", utterances=SPEECH, normalizer=NORMALIZER)


def counts(wrong, eval_set):
    """``wrong`` of ten words in every utterance."""
    return [ErrorCounts(hits=10 - wrong, substitutions=wrong) for _ in eval_set.utterances]


def run(directory, wrong_on_other, *, every_eval=True):
    """``wrong_on_other`` at each look; dev improves all the time."""
    config = TrainConfig(
        method="full", learning_rate=1e-3, max_steps=8, eval_steps=2, per_device_train_batch_size=2,
        guard=GuardConfig(points=1, every_eval=every_eval),
    )  # fmt: skip
    history = directory / "history.jsonl"
    seen = len(history.read_text().splitlines()) if history.exists() else 0
    looks = {"dev": seen, "other": seen}

    def measure(model, eval_set):
        look = looks[eval_set.name]
        looks[eval_set.name] += 1
        return counts(max(0, 9 - look) if eval_set.name == "dev" else wrong_on_other[look], eval_set)

    return Training(
        tiny_whisper(window="fit"), SPEECH[:4], DEV, config, directory, measure=measure, guard_sets=[DEV, OTHER],
        deliver=False,
    ).run()  # fmt: skip


def test_certain_harm_ends_the_training(tmp_path):
    outcome = run(tmp_path, [1, 1, 4, 4, 4])
    assert (outcome.reason, outcome.stopped_at) == ("damage", 4)
    assert list(json.loads((tmp_path / "train.json").read_text())["watch"]) == ["0", "2", "4"]


def test_no_harm_no_stop(tmp_path):
    outcome = run(tmp_path, [1, 1, 1, 1, 1])
    assert (outcome.reason, outcome.stopped_at) == ("done", 8)


def test_not_watched_unless_asked_for(tmp_path):
    outcome = run(tmp_path, [1, 1, 9, 9, 9], every_eval=False)
    assert outcome.reason == "done"
    assert "watch" not in json.loads((tmp_path / "train.json").read_text())


def test_asked_again_it_stays_stopped(tmp_path):
    first = run(tmp_path, [1, 1, 4, 4, 4])
    record = json.loads((tmp_path / "train.json").read_text())
    (tmp_path / "train.json").write_text(json.dumps(record | {"status": "running"}))  # killed before it said so
    again = run(tmp_path, [1, 1, 4, 4, 4])
    assert (again.reason, again.stopped_at) == (first.reason, first.stopped_at)


@pytest.mark.parametrize(("worse", "evaluations", "is_damage"), [(8, 1, True), (8, 10**6, False), (0, 1, False)])
def test_the_level_is_shared_by_the_evaluations(worse, evaluations, is_damage):
    """Of 36 utterances some lose two words of ten: enough for one look, too little for one of a million."""
    model = object()
    measured = iter([
        counts(1, OTHER), [ErrorCounts(hits=9 - 2 * (i < worse), substitutions=1 + 2 * (i < worse)) for i in range(36)],
    ])  # fmt: skip
    watch = DamageWatch([OTHER], lambda *_: next(measured), margin=0.0, stored={}, save=lambda counts: None)
    watch.look(model, 0, 100)
    watch.look(model, 5, 100)
    assert (watch.damage(5, evaluations) is not None) == is_damage


def looked(worse, margin=0.0, of=36):
    """A watch that saw ``worse`` of some utterances lose two words of ten."""
    many = replace(OTHER, utterances=[replace(SPEECH[i % 36], id=str(i), text=f"{i}") for i in range(of)])
    measured = iter([
        counts(1, many), [ErrorCounts(hits=9 - 2 * (i < worse), substitutions=1 + 2 * (i < worse)) for i in range(of)],
    ])  # fmt: skip
    watch = DamageWatch([many], lambda *_: next(measured), margin=margin, stored={}, save=lambda counts: None)
    watch.look(object(), 0, of)
    watch.look(object(), 5, of)
    return watch


@pytest.mark.parametrize(("margin", "is_damage"), [(2.0, True), (3.0, False)])
def test_the_margin_is_held_against_an_interval_of_that_level_too(margin, is_damage):
    """A quarter loses two of ten words, 5 points: the interval of one look begins at 3.5, that of a hundred at 2.6."""
    watch = looked(50, margin, of=200)
    assert watch.damage(5, 1)
    assert bool(watch.damage(5, 100)) == is_damage


def test_certain_harm_is_seen_however_many_evaluations_there_are():
    """No p-value of ten thousand resamples is below the level of a thousand looks."""
    assert looked(150, of=200).damage(5, 1000)
