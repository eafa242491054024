"""What a run delivers: the guard's choice, whatever kills it on the way, and what it writes about it."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from asr_headroom.evaluate.transcribe import count_utterances
from asr_headroom.metrics.error_rate import ErrorCounts
from asr_headroom.models.decoding import DecodingOptions
from asr_headroom.models.registry import load_model
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_whisper
from asr_headroom.text.normalize import normalizer_for_language
from asr_headroom.train.config import GuardConfig, TrainConfig
from asr_headroom.train.guard import EvaluationSet
from asr_headroom.train.loop import Training
from asr_headroom.train.methods import apply_method

TEXTS = ("abc", "cab", "bad", "cabbage", "dada", "face", "ab", "fade", "bead", "deed", "ace", "add")
SPEECH = [tone_utterance(text) for text in TEXTS]


def named(name, role="target", speech=SPEECH):
    return EvaluationSet(name=name, role=role, utterances=speech, normalizer=normalizer_for_language("en"))


def transcribed(model, eval_set):
    options = DecodingOptions(max_new_tokens=8)
    return count_utterances(model, eval_set.utterances, options, normalizer=eval_set.normalizer, batch_size=4)


def config(method="full", **changes):
    settings = {"method": method, "learning_rate": 1e-3, "max_steps": 4, "eval_steps": 2, "logging_steps": 2,
                "per_device_train_batch_size": 4, "guard": GuardConfig(points=3)} | changes  # fmt: skip
    return TrainConfig(**settings)


def start(directory, settings, *, measure=transcribed, sets=("dev", "other"), **options):
    model = apply_method(tiny_whisper(window="fit", dropout=0.1), settings)
    guard_sets = [named(name, "target" if name == "dev" else "guard") for name in sets]
    return Training(model, SPEECH, named("dev"), settings, directory, measure=measure, guard_sets=guard_sets, **options)


class ByDistance:
    """Errors that follow how far the weights have moved: the target gains, the other set loses from ``harmful`` on.

    Measured where a weight stands between base and best step, so it sees what the guard puts into the model.
    """

    def __init__(self, harmful=2.0):
        self.harmful = harmful
        self.base = None
        self.alphas = []

    def __call__(self, model, eval_set):
        weight = self._update(model)
        if self.base is None:
            self.base = weight.clone()
        moved = float((weight - self.base).norm())
        self.farthest = max(getattr(self, "farthest", 0.0), moved)
        alpha = moved / self.farthest if self.farthest else 0.0
        errors = 9 - int(8 * alpha) if eval_set.role == "target" else (8 if alpha > self.harmful else 1)
        self.alphas.append(round(alpha, 3))
        return [ErrorCounts(hits=10 - errors, substitutions=errors)] * len(eval_set.utterances)

    @staticmethod
    def _update(model):
        """A tensor that moves with the point: an update's B, or any weight."""
        moving = {n: p.detach() for n, p in model.module.named_parameters() if p.requires_grad}
        return next((p for n, p in moving.items() if "lora_B" in n), next(iter(moving.values())))


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_point_between_is_delivered_as_it_was_measured(tmp_path, method):
    measure = ByDistance(harmful=0.6)
    outcome = start(tmp_path, config(method, max_steps=2), measure=measure).run()
    assert outcome.alpha == 0.375
    assert {0.375, 0.75, 1.0} <= set(measure.alphas)
    facts = json.loads((outcome.model_directory / "headroom.json").read_text())["guard"]
    assert facts["alpha"] == 0.375
    assert facts["points"] == [0.0, 0.375, 0.75, 1.0]
    assert [s["name"] for s in facts["sets"]] == ["dev", "other"]
    assert facts["sets"][1]["rates"] == pytest.approx([0.1, 0.1, 0.8, 0.8])
    # Three eighths of the way: of all weights, or of the update's B.
    best = tmp_path / f"checkpoints/step-{outcome.best_step:08d}"
    file = "model.safetensors" if method == "full" else "adapter_model.safetensors"
    base, tuned, delivered = (
        load_file(f / file) for f in (tmp_path / "checkpoints/step-00000000", best, outcome.model_directory)
    )
    moved = 0
    for name, tensor in delivered.items():
        expected = base[name].lerp(tuned[name], 0.375) if method == "full" or "lora_B" in name else tuned[name]
        torch.testing.assert_close(tensor, expected)
        moved += not torch.equal(tensor, base[name])
    assert moved


def test_the_base_is_delivered_where_the_guard_says_so(tmp_path):
    outcome = start(tmp_path, config(max_steps=2), measure=ByDistance(harmful=0.1)).run()
    assert outcome.alpha == 0.0
    assert outcome.best_step > 0
    assert "is paid for elsewhere: other gets worse" in outcome.delivered_because
    delivered = load_file(outcome.model_directory / "model.safetensors")
    for name, tensor in load_file(tmp_path / "checkpoints/step-00000000/model.safetensors").items():
        assert torch.equal(delivered[name], tensor)


def test_a_half_delivered_adapter_loads_and_transcribes(tmp_path):
    tiny_whisper(window="fit", dropout=0.1).save_pretrained(tmp_path / "tiny")
    settings = config("lora", max_steps=2)
    model = apply_method(load_model(str(tmp_path / "tiny"), window="fit"), settings)
    sets = [named("dev"), named("other", "guard")]
    outcome = Training(
        model, SPEECH, sets[0], settings, tmp_path / "run", measure=ByDistance(harmful=0.6), guard_sets=sets
    ).run()
    loaded = load_model(str(outcome.model_directory), window="fit")
    options = DecodingOptions(max_new_tokens=8)
    # The run leaves its model where the guard put it.
    assert [h.text for h in loaded.transcribe(SPEECH, options)] == [h.text for h in model.transcribe(SPEECH, options)]


def test_without_a_guard_the_best_step_is_delivered(tmp_path):
    settings = config(guard=GuardConfig(enabled=False))
    outcome = start(tmp_path, settings, measure=ByDistance(harmful=0.1)).run()
    assert outcome.alpha == 1.0
    assert json.loads((outcome.model_directory / "headroom.json").read_text())["guard"] is None


def test_from_scratch_there_is_no_base_to_guard(tmp_path):
    outcome = start(tmp_path, config("scratch"), measure=ByDistance(harmful=0.1)).run()
    assert outcome.alpha == 1.0


class Stopped(Exception):
    """Stands in for a kill."""


def everything(directory):
    files = [*directory.rglob("*.safetensors"), *directory.rglob("history.jsonl"), *directory.rglob("guard.json")]
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


@pytest.mark.parametrize("method", ["full", "lora"])
def test_killed_at_any_measurement_it_ends_with_the_same_bits(tmp_path, method):
    calls = []

    def counted(model, eval_set):
        calls.append(eval_set.name)
        return transcribed(model, eval_set)

    start(tmp_path / "whole", config(method), measure=counted).run()
    total = len(calls)
    # Evaluations, the base on the guard's sets, and unless the base was best, three points.
    assert total in (3 + 2, 3 + 2 + 3 * 2)
    for survived in {2, 4, 7, 11} & set(range(total)):
        calls.clear()

        def dying(model, eval_set, survived=survived):
            if len(calls) == survived:
                raise Stopped
            return counted(model, eval_set)

        with pytest.raises(Stopped):
            start(tmp_path / str(survived), config(method), measure=dying).run()
        start(tmp_path / str(survived), config(method)).run()
        assert everything(tmp_path / str(survived)) == everything(tmp_path / "whole"), survived


def test_a_run_that_waits_for_delivery_goes_on_from_there(tmp_path):
    measure = ByDistance(harmful=0.6)
    first = start(
        tmp_path, config(max_steps=2), measure=measure, deliver=False, model_directory=tmp_path / "chosen"
    ).run()
    assert first.model_directory is None
    assert not (tmp_path / "chosen").exists()
    second = start(tmp_path, config(max_steps=2), measure=measure, model_directory=tmp_path / "chosen").run()
    assert second.model_directory == tmp_path / "chosen"
    assert second.alpha == 0.375
    assert second.best_step == first.best_step
    again = start(tmp_path, config(max_steps=2), model_directory=tmp_path / "chosen").run()
    assert again == second
