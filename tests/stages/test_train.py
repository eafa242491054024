"""train: what is learnt, from what, and what a later bench knows of it."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from asr_headroom.errors import DataError, TrainingError
from asr_headroom.models.registry import load_model
from asr_headroom.stages.bench import BenchConfig, bench
from asr_headroom.stages.rates import choose_rate
from asr_headroom.stages.train import TrainStageConfig, train
from asr_headroom.train.config import GuardConfig

TWO_POINTS = GuardConfig(points=2)
"""Eight utterances that all agree give p = .010, which five points would hold against .05 / 5."""


def config(tiny_model, tones, tmp_path, **changes):
    settings = {
        "model": str(tiny_model), "train": str(tones), "dev": str(tones), "output": str(tmp_path / "run"),
        "method": "full", "learning_rate": 1e-3, "max_steps": 2, "eval_steps": 1, "window": "fit",
        "per_device_train_batch_size": 4,
    }  # fmt: skip
    return TrainStageConfig(**(settings | changes))


@pytest.mark.parametrize("method", ["full", "lora", "scratch"])
def test_a_trained_model_is_benched_as_the_child_of_its_base(tiny_model, tones, tmp_path, method):
    model = train(config(tiny_model, tones, tmp_path, method=method))
    assert model == tmp_path / "run/model"
    (result,) = bench(
        BenchConfig(
            models=(str(model),), data=(str(tones),), output=str(tmp_path / "b"), window="fit", max_new_tokens=4
        )
    )
    assert result.run.name == "run"
    assert result.run.parent == "tiny"
    assert result.run.model["method"] == method
    base = load_model(str(tiny_model)).card.parameters
    assert result.run.model["parameters"] == base
    trained = result.run.model["trainable_parameters"]
    positions = 150 * 32  # of the encoder: sinusoids, never trained
    # Two layers with three attentions in all each, four square projections, rank 32 on both sides.
    assert trained == (2 * 3 * 4 * 2 * 32 * 32 if method == "lora" else base - positions)
    assert result.run.minutes["train train"] > 0


def test_budget_and_minutes_go_by_the_clock_that_is_given(tiny_model, tones, tmp_path):
    ticks = itertools.count(step=5.0)
    budgeted = config(tiny_model, tones, tmp_path, max_steps=10_000, eval_steps=10_000, budget="60m")
    train(budgeted, clock=lambda: float(next(ticks)))
    record = json.loads((tmp_path / "run/train.json").read_text())
    assert record["reason"] == "budget"  # after seconds by the wall
    assert 58 < sum(record["minutes"].values()) <= 61


def test_scratch_starts_from_new_weights(tiny_model, tones, tmp_path):
    train(config(tiny_model, tones, tmp_path, method="scratch", learning_rate=1e-12))
    name = "model.encoder.conv1.weight"
    kept = load_model(str(tiny_model)).module.state_dict()[name]
    drawn = load_model(str(tmp_path / "run/model")).module.state_dict()[name]
    assert (kept - drawn).abs().max() > 0.01


def test_the_record_counts_what_was_used_and_left_out(tiny_model, tones, tmp_path):
    rows = [json.loads(line) for line in Path(tones).read_text().splitlines()]
    for row in rows:
        row["audio"] = str(Path(tones).parent / row["audio"])
    rows[3]["text"] = "x" * 100  # more than the 64 decoder positions hold
    manifest = tmp_path / "m.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    train(config(tiny_model, manifest, tmp_path, dev=str(tones), eval_utterances=3))
    facts = json.loads((tmp_path / "run/train.json").read_text())["facts"]
    assert facts["train_data"]["num_utterances"] == 8
    assert facts["train_data"]["used"] == 7
    assert facts["train_data"]["unusable"] == {"too long for the model": 1}
    assert facts["dev_data"]["used"] == 3
    assert facts["dev_data"]["sentences_in_train"] == 3 - ("dab" in _dev_texts(tones, 3))


def _dev_texts(tones, count):
    """Texts of the fixed dev subset, found anew."""
    texts = [json.loads(line)["text"] for line in Path(tones).read_text().splitlines()]
    return [texts[i] for i in np.random.default_rng(42).permutation(len(texts))[:count]]


def test_nothing_usable_is_an_error_that_says_why(tiny_model, tones, tmp_path):
    rows = [json.loads(line) for line in Path(tones).read_text().splitlines()]
    for row in rows:
        row |= {"audio": str(Path(tones).parent / row["audio"]), "text": "x" * 100}
    manifest = tmp_path / "m.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(
        DataError, match=r"none of the 8 training utterances .* 105 decoder tokens, beyond the model's 64"
    ):
        train(config(tiny_model, manifest, tmp_path, dev=str(tones)))


def test_the_target_form_is_learnt_and_scoring_does_not_see_it(tiny_model, tones, tmp_path):
    upper = tmp_path / "upper.jsonl"
    text = Path(tones).read_text().replace('"audio/', f'"{Path(tones).parent}/audio/')
    rows = [json.loads(line) for line in text.splitlines()]
    upper.write_text("".join(json.dumps(row | {"text": row["text"].upper()}) + "\n" for row in rows))
    model = train(
        config(tiny_model, upper, tmp_path, dev=str(upper), target_form="sentence", max_steps=150, eval_steps=50,
               learning_rate=3e-3, per_device_train_batch_size=8, guard=TWO_POINTS)
    )  # fmt: skip
    (result,) = bench(BenchConfig(models=(str(model),), data=(str(upper),), output=str(tmp_path / "b"), window="fit"))
    by_id = {p.id: p for p in result.predictions}
    assert by_id["u0"].reference == "ABC"
    assert by_id["u0"].hypothesis == "Abc."
    assert by_id["u0"].counts.words.errors == 0


@pytest.mark.parametrize(("form", "is_said"), [("as-is", True), ("sentence", False)])
def test_upper_case_transcripts_are_said(tiny_model, tones, tmp_path, caplog, form, is_said):
    rows = [json.loads(line) for line in Path(tones).read_text().splitlines()]
    for row in rows:
        row |= {"audio": str(Path(tones).parent / row["audio"]), "text": row["text"].upper()}
    manifest = tmp_path / "upper.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    train(config(tiny_model, manifest, tmp_path, target_form=form, max_steps=1))
    assert ("all 8 transcripts are in upper case" in caplog.text) is is_said


def test_of_several_learning_rates_the_best_on_dev_is_delivered(tiny_model, tones, tmp_path):
    """A rate that learns nothing against one that learns; the ledger counts both."""
    settings = {"learning_rate": None, "learning_rates": (1e-9, 3e-3), "max_steps": 120, "eval_steps": 60,
                "per_device_train_batch_size": 8, "guard": TWO_POINTS}  # fmt: skip
    model = train(config(tiny_model, tones, tmp_path, **settings))
    assert model == tmp_path / "run/model"
    choice = json.loads((tmp_path / "run/rates.json").read_text())
    assert choice["chosen"] == 3e-3
    assert choice["tried"]["0.003"]["dev_error_rate"] < choice["tried"]["1e-09"]["dev_error_rate"]
    facts = json.loads((model / "headroom.json").read_text())
    assert facts["learning_rate"] == 3e-3
    assert facts["minutes"]["other learning rates"] > 0
    assert facts["guard"]["alpha"] > 0
    assert not (tmp_path / "run/rates/1e-09/model").exists()
    before = (model / "model.safetensors").read_bytes()
    train(config(tiny_model, tones, tmp_path, **settings))
    assert (model / "model.safetensors").read_bytes() == before
    with pytest.raises(TrainingError, match="holds a choice among other learning rates"):
        train(config(tiny_model, tones, tmp_path, **settings | {"learning_rates": (1e-9, 1e-3)}))


def test_rates_within_a_standard_error_give_way_to_the_lowest():
    def outcome(rate, errors):
        counts = [(int(e), 10) for e in errors]
        return SimpleNamespace(best_dev=(sum(errors) / (10 * len(errors)), 0.0), best_counts=counts)

    noisy = np.random.default_rng(0).integers(0, 6, 60)
    noisy[:3] = 2
    outcomes = {rate: outcome(rate, noisy) for rate in (1e-4, 3e-4)}
    outcomes[1e-3] = outcome(1e-3, [1, 1, 3, *noisy[3:]])  # a hair better
    assert choose_rate(outcomes) == 1e-4
    outcomes[1e-3] = outcome(1e-3, noisy // 3)  # far better
    assert choose_rate(outcomes) == 1e-3


def test_guard_data_and_what_was_measured_are_told(tiny_model, tones, tmp_path):
    model = train(config(tiny_model, tones, tmp_path, guard_data=(str(tones),)))
    facts = json.loads((model / "headroom.json").read_text())
    assert facts["guard_data"][0]["source"] == str(tones)
    roles = [measured["role"] for measured in facts["guard"]["sets"]]
    assert roles == ["target", "guard", "nonspeech"]
    assert facts["minutes"]["load"] > 0


def test_one_output_holds_one_kind_of_run(tiny_model, tones, tmp_path):
    train(config(tiny_model, tones, tmp_path))
    with pytest.raises(TrainingError, match="holds a run with a single learning rate"):
        train(config(tiny_model, tones, tmp_path, learning_rate=None, learning_rates=(1e-3, 1e-4)))
    other = str(tmp_path / "other")
    train(config(tiny_model, tones, tmp_path, learning_rate=None, learning_rates=(1e-3, 1e-4), output=other))
    with pytest.raises(TrainingError, match="holds a choice among learning rates"):
        train(config(tiny_model, tones, tmp_path, output=other))


def without_texts(tones, path):
    rows = [json.loads(line) for line in Path(tones).read_text().splitlines()]
    for row in rows:
        row |= {"audio": str(Path(tones).parent / row["audio"]), "text": ""}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_recordings_without_words_guard_as_silence_and_are_no_dev_set(tiny_model, tones, tmp_path):
    silence = without_texts(tones, tmp_path / "silence.jsonl")
    model = train(config(tiny_model, tones, tmp_path, guard_data=(silence,)))
    sets = json.loads((model / "headroom.json").read_text())["guard"]["sets"]
    assert [s["role"] for s in sets] == ["target", "nonspeech", "nonspeech"]
    with pytest.raises(DataError, match="no utterance has a reference"):
        train(config(tiny_model, tones, tmp_path, dev=silence, output=str(tmp_path / "none")))
