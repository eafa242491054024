"""What holds training back: values against formulas written out, the gradient however the batch is cut, resuming."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from asr_headroom.errors import ConfigError, ModelError
from asr_headroom.metrics.error_rate import ErrorCounts
from asr_headroom.models.lora import LoraConfig
from asr_headroom.models.modes import evaluating
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_wav2vec2_ctc, tiny_whisper
from asr_headroom.testing.tiny.parakeet_tdt import tiny_parakeet_tdt
from asr_headroom.testing.tiny.qwen3_asr import tiny_qwen3_asr
from asr_headroom.text.normalize import get_normalizer
from asr_headroom.train.config import TrainConfig
from asr_headroom.train.guard import EvaluationSet
from asr_headroom.train.loop import Training
from asr_headroom.train.methods import apply_method, trainable_parameters
from asr_headroom.train.objectives import supervised
from asr_headroom.train.optimizer import make_optimizer
from asr_headroom.train.regularization import PullToStart, RegularizedLoss, bytes_of_copies, divergence

SPEECH = [tone_utterance(text, id=text) for text in ("abc", "cab", "bad", "cabbage")]


class Stopped(Exception):
    """Stands in for a kill."""


def short(**changes):
    return TrainConfig(**{"method": "full", "learning_rate": 1e-3, "max_steps": 4, "eval_steps": 2,
                          "per_device_train_batch_size": 2} | changes)  # fmt: skip


def start(directory, config, *, measure=None, model=None):
    dev = EvaluationSet(name="dev", role="target", utterances=SPEECH[:2], normalizer=get_normalizer("basic"))
    model = apply_method(model or tiny_whisper(window="fit", dropout=0.1), config)
    measure = measure or (lambda *_: [ErrorCounts(hits=1, substitutions=1)])
    return Training(model, SPEECH, dev, config, directory, measure=measure, deliver=False)


def moved(model, *, seed=1):
    """The model with weights that are no longer the base's."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.module.parameters():
            if weight.requires_grad:
                weight += 0.05 * torch.randn(weight.shape, generator=generator)
    return model


def logits_of(model):
    """Logits at supervised positions, by the library's own forward pass."""
    batch = model.collate(SPEECH)
    labels = batch.inputs["labels"]
    return model._target_logits(batch)[0], labels[labels != -100]


def test_smoothed_targets_are_torchs():
    model = tiny_whisper(window="fit")
    total, nats, apart = RegularizedLoss(model, short(label_smoothing=0.2))(model.collate(SPEECH))
    logits, targets = logits_of(model)
    assert total.item() == pytest.approx(
        functional.cross_entropy(logits, targets, reduction="sum", label_smoothing=0.2).item(), rel=1e-5
    )
    assert nats.item() == pytest.approx(functional.cross_entropy(logits, targets, reduction="sum").item(), rel=1e-5)
    assert apart.item() == 0


def test_divergence_by_hand():
    base, tuned = torch.tensor([[0.5, 0.5], [0.9, 0.1]]), torch.tensor([[0.25, 0.75], [0.9, 0.1]])
    expected = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    assert divergence(base.log(), tuned.log()).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_divergence_is_from_the_base_and_moves_nothing_else(method):
    config = short(method=method, kl=0.5)
    model = apply_method(tiny_whisper(window="fit", dropout=0.1), config)
    base = copy.deepcopy(model)
    loss = RegularizedLoss(model, config)
    moved(model)
    model.module.train()
    moving = [name for name, weight in model.module.named_parameters() if weight.requires_grad]
    with evaluating(model.module):  # no dropout, so that the two can be compared
        total, nats, apart = loss(model.collate(SPEECH))
        tuned = logits_of(model)[0].log_softmax(-1)
    base.module.eval()
    before = logits_of(base)[0].log_softmax(-1)
    assert apart.item() == pytest.approx(
        functional.kl_div(tuned, before, reduction="sum", log_target=True).item(), rel=1e-4
    )
    assert apart.item() > 0.1
    assert total.item() == pytest.approx(nats.item() + 0.5 * apart.item(), rel=1e-5)
    assert [name for name, weight in model.module.named_parameters() if weight.requires_grad] == moving
    assert model.module.training
    total.backward()
    assert all(weight.grad is None for weight in model.module.parameters() if not weight.requires_grad)


def test_other_families_give_their_distributions():
    for model in (tiny_wav2vec2_ctc(), tiny_qwen3_asr()):
        model.module.eval()
        batch = model.collate([tone_utterance("abc")])
        scores = model.target_scores(batch)
        assert scores.loss.nats.item() == pytest.approx(model.loss(batch).nats.item(), rel=1e-5)
        torch.testing.assert_close(scores.log_probs.exp().sum(-1), torch.ones(len(scores.log_probs)))
        if scores.targets is not None:
            assert len(scores.targets) == batch.num_targets


def test_what_a_family_cannot_is_refused():
    with pytest.raises(ModelError, match=r"kl needs the distribution at each target.*parakeet"):
        RegularizedLoss(tiny_parakeet_tdt(), short(kl=0.1))
    model = tiny_wav2vec2_ctc()
    with pytest.raises(ModelError, match="frames without"):
        RegularizedLoss(model, short(label_smoothing=0.1))(model.collate([tone_utterance("abc")]))
    with pytest.raises(ConfigError, match="kl holds a model near its base"):
        short(method="scratch", kl=0.1)
    with pytest.raises(ConfigError, match="label_smoothing is 1"):
        short(label_smoothing=1)


def gradients(directory, rows, accumulation, **changes):
    config = short(per_device_train_batch_size=rows, gradient_accumulation_steps=accumulation, **changes)
    training = start(directory, config, model=tiny_whisper(window="fit"))
    objective = supervised(config)(training.model, training._accelerator)
    moved(training.model)
    totals = objective.accumulate(training._feed.step(0))
    return {n: p.grad.clone() for n, p in training.model.module.named_parameters() if p.grad is not None}, totals


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_gradient_does_not_depend_on_how_the_batch_is_cut(tmp_path, method):
    changes = {"method": method, "kl": 0.3, "label_smoothing": 0.1, "lora": LoraConfig(dropout=0.0)}
    one, cut = gradients(tmp_path / "a", 1, 4, **changes)
    four, whole = gradients(tmp_path / "b", 4, 1, **changes)
    assert cut.loss == pytest.approx(whole.loss, rel=1e-5)
    assert cut.watched["kl"] == pytest.approx(whole.watched["kl"], rel=1e-4)
    assert whole.watched["kl"][0] > 0
    for name in one:
        torch.testing.assert_close(one[name], four[name], atol=1e-5, rtol=1e-4)


def test_the_pull_is_towards_the_start():
    module = torch.nn.Linear(3, 2)
    start_of = module.weight.detach().clone()
    optimizer = make_optimizer(module, short())
    pull = PullToStart(optimizer, 0.5)
    with torch.no_grad():
        module.weight += 1.0
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    pull.step()
    torch.testing.assert_close(module.weight, start_of + 1.0 - 0.1 * 0.5)


@pytest.mark.parametrize(
    "changes",
    [
        {"l2_sp": 5.0, "layer_decay": 0.8, "label_smoothing": 0.1, "ema": 0.9, "kl": 0.2},
        {"l2_sp": 5.0, "kl": 0.2, "ema": 0.9, "method": "lora", "freeze": ("decoder",)},
        {"optim": "adamw-8bit", "weight_decay": 0.1},
    ],
)
def test_resume_equals_never_stopping(tmp_path, changes):
    if "optim" in changes:
        pytest.importorskip("bitsandbytes")
    config = short(**changes)
    start(tmp_path / "whole", config).run()
    calls = []

    def killed_at_third(*_):
        calls.append(1)
        if len(calls) == 3:  # steps 0 and 2 are on disk, step 4 is not
            raise Stopped
        return [ErrorCounts(hits=1, substitutions=1)]

    with pytest.raises(Stopped):
        start(tmp_path / "cut", config, measure=killed_at_third).run()
    start(tmp_path / "cut", config).run()
    whole, cut = (
        next((tmp_path / n / "checkpoints/step-00000004").glob("*model.safetensors")) for n in ("whole", "cut")
    )
    assert whole.read_bytes() == cut.read_bytes()
    assert (tmp_path / "whole/history.jsonl").read_text() == (tmp_path / "cut/history.jsonl").read_text()


def test_the_average_is_evaluated_and_kept_while_the_weights_train_on(tmp_path):
    config = short(ema=0.5, max_steps=3, eval_steps=1, learning_rate=1e-2)
    seen = []

    def measure(model, eval_set):
        seen.append({name: tensor.clone() for name, tensor in model.module.state_dict().items()})
        return [ErrorCounts(hits=1, substitutions=1)]

    plain = []
    start(tmp_path / "plain", short(max_steps=3, eval_steps=1, learning_rate=1e-2),
          measure=lambda model, _: plain.append(
              {n: t.clone() for n, t in model.module.state_dict().items()}) or [ErrorCounts(hits=1, substitutions=1)],
          ).run()  # fmt: skip
    start(tmp_path / "average", config, measure=measure).run()
    name = "model.decoder.layers.0.fc1.weight"
    average = plain[0][name]
    for step in range(3):
        decay = min(0.5, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * plain[step + 1][name]
        torch.testing.assert_close(seen[step + 1][name], average, atol=1e-7, rtol=1e-5)
    kept = load_file(tmp_path / "average/checkpoints/step-00000003/model.safetensors")
    torch.testing.assert_close(kept[name], average, atol=1e-7, rtol=1e-5)


@pytest.mark.parametrize(
    "changes", [{"kl": 0.1}, {"l2_sp": 0.1, "ema": 0.9}, {"method": "lora", "kl": 0.1, "ema": 0.9}]
)
def test_copies_are_foretold(changes):
    """Against what the parts hold."""
    config = short(**changes)
    model = apply_method(tiny_whisper(window="fit"), config)
    held = 0
    if config.kl:
        base = RegularizedLoss(model, config)._base[0].__closure__
        models = [cell.cell_contents for cell in base if hasattr(cell.cell_contents, "card")]
        held += sum(w.nbytes for m in models if m is not model for w in m.module.parameters())
    moving = sum(w.nbytes for w in model.module.parameters() if w.requires_grad)
    held += moving * (bool(config.l2_sp) + bool(config.ema))
    assert held > 0
    foretold = bytes_of_copies(
        config, parameters=model.card.parameters, trainable_parameters=trainable_parameters(model)
    )
    assert foretold == held
