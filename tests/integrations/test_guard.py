"""The guard on models that another script has trained."""

from __future__ import annotations

import copy

import pytest
import torch

from asr_headroom.errors import DataError, ModelError
from asr_headroom.integrations import guard as module
from asr_headroom.integrations.guard import guard_model
from asr_headroom.integrations.seq2seq import SpeechCollator, fit_windows
from asr_headroom.metrics.error_rate import ErrorCounts
from asr_headroom.models.lora import LoraConfig, attach_lora
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_whisper
from asr_headroom.train.config import GuardConfig

TEXTS = ("abc", "cab", "bad", "cabbage", "dada", "face", "ab", "fade", "dead", "beef", "ace", "add")
ROWS = [tone_utterance(text) for text in TEXTS]


def trained(seed=1):
    """A base and a model that has moved away from it."""
    base, model = tiny_whisper(seed=seed), tiny_whisper(seed=seed)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.module.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return base, model


def errors_by_distance(base, tuned, harmful):
    """Stands in for transcribing: the target gains with the distance from the base, another set loses at some point."""
    name = "model.encoder.conv1.weight"
    start = base.module.state_dict()[name].clone()
    whole = (tuned.module.state_dict()[name] - start).norm()

    def count(recognizer, utterances, options, *, normalizer, batch_size):
        moved = float((recognizer.module.state_dict()[name] - start).norm() / whole)
        target = utterances[0].id.startswith("dev")
        errors = round(9 - 8 * moved) if target else 8 if moved > harmful else 1
        return [ErrorCounts(hits=10 - errors, substitutions=errors)] * len(utterances)

    return count


@pytest.mark.parametrize(("harmful", "alpha"), [(2.0, 0.875), (0.6, 0.375), (0.1, 0.0)])
def test_the_model_is_left_at_the_point_chosen(monkeypatch, tmp_path, harmful, alpha):
    base, tuned = trained()
    base.save_pretrained(tmp_path / "base")
    ends = base.module.state_dict(), {name: t.clone() for name, t in tuned.module.state_dict().items()}
    monkeypatch.setattr(module, "count_utterances", errors_by_distance(base, tuned, harmful))
    collator = SpeechCollator(tuned.processor, tuned.module, language="en")
    outcome = guard_model(
        tuned.module,
        base=str(tmp_path / "base"),
        collator=collator,
        dev=ROWS,
        others={"others": ROWS},
        config=GuardConfig(points=3),
    )
    assert outcome.alpha == alpha
    assert [s["name"] for s in outcome.facts["sets"]] == ["dev", "others", "silence and noise"]
    for name, tensor in tuned.module.state_dict().items():
        torch.testing.assert_close(tensor, torch.lerp(ends[0][name], ends[1][name], alpha))


def test_nothing_bought_leaves_the_base(tmp_path):
    """The real path: real transcripts of a model that is no better than its base."""
    base, tuned = trained()
    weights = copy.deepcopy(base.module.state_dict())
    fit_windows(tuned.module)
    collator = SpeechCollator(tuned.processor, tuned.module, language="en")
    outcome = guard_model(
        tuned.module, base=base.module, collator=collator, dev=iter(ROWS), config=GuardConfig(points=1)
    )
    assert outcome.alpha == 0.0
    assert outcome.reason.startswith("no point beats the base")
    for name, tensor in tuned.module.state_dict().items():
        assert torch.equal(tensor, weights[name])


def test_an_adapter_needs_no_base(monkeypatch):
    family = tiny_whisper(seed=1)
    adapted = attach_lora(family, LoraConfig(rank=4, dropout=0.0))
    update = next(p for n, p in adapted.module.named_parameters() if "lora_B" in n)
    with torch.no_grad():
        update.fill_(0.1)

    def count(recognizer, utterances, options, *, normalizer, batch_size):
        errors = round(9 - 80 * float(update.detach().mean()))
        return [ErrorCounts(hits=10 - errors, substitutions=errors)] * len(utterances)

    monkeypatch.setattr(module, "count_utterances", count)
    collator = SpeechCollator(family.processor, adapted.module, language="en")
    outcome = guard_model(adapted.module, base="not loaded", collator=collator, dev=ROWS)
    # Silence and noise get fewer words too, so nothing speaks against as much as keeps four fifths of an even gain.
    assert outcome.alpha == 0.8125
    assert float(update.detach().mean()) == pytest.approx(0.08125)


def test_wrong_input_is_said(tmp_path):
    _, tuned = trained()
    collator = SpeechCollator(tuned.processor, tuned.module, language="en")
    with pytest.raises(DataError, match="'dev' holds no row"):
        guard_model(tuned.module, base="x", collator=collator, dev=[])
    tiny_whisper(layers=2).save_pretrained(tmp_path / "other")
    with pytest.raises(ModelError, match="do not have the same weights"):
        guard_model(tuned.module, base=str(tmp_path / "other"), collator=collator, dev=ROWS)
