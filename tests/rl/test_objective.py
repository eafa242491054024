"""The efficient step against the textbook: every draw encoded and scored alone, by the library's own forward pass."""

from __future__ import annotations

import zlib
from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator
from torch.nn import functional

from asr_headroom.errors import ModelError
from asr_headroom.metrics.error_rate import ErrorCounts
from asr_headroom.models.decoding import BeamGroups, SamplingOptions
from asr_headroom.models.lora import LoraConfig, attach_lora
from asr_headroom.rl.config import RlConfig
from asr_headroom.rl.objective import PolicyObjective, check_model
from asr_headroom.rl.reward import Judged
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_parakeet_tdt, tiny_qwen3_asr, tiny_wav2vec2_ctc, tiny_whisper
from asr_headroom.train.feed import StepBatches

SPEECH = [tone_utterance(text) for text in ("abc", "ca", "bad", "cabbage")]
TIED = "ca"


class ArbitraryReward:
    """Rewards that depend on the tokens in no meaningful way, so that every group differs but one."""

    def judge(self, utterance, hypotheses):
        judged = []
        for hypothesis in hypotheses:
            errors = zlib.crc32(repr(hypothesis.token_ids).encode()) % 5 if utterance.id != TIED else 3
            judged.append(Judged(-errors / 5, ErrorCounts(5 - errors, errors, 0, 0)))
        return judged


class Captured:
    """Takes what a step writes down."""

    def write(self, step, means, groups):
        self.groups, self.means = dict(groups), means


def step_batches(model, cut=(3, 1), number=0):
    parts, start = [], 0
    for size in cut:
        parts.append(SPEECH[start : start + size])
        start += size
    batches = [as_precise(model, model.collate(part)) for part in parts]
    return StepBatches(number, batches, parts, 1)


def as_precise(model, batch):
    """Features in the model's precision; the families take theirs in float32."""
    if next(model.module.parameters()).dtype == torch.float64:
        batch.inputs = {n: t.double() if t.is_floating_point() and n != "waveforms" else t
                        for n, t in batch.inputs.items()}  # fmt: skip
    return batch


def objective(model, config, record=None, reward=None):
    return PolicyObjective(model, Accelerator(), config, reward or ArbitraryReward(), seed=3, record=record)


def gradients(model):
    return {n: p.grad.clone() for n, p in model.module.named_parameters() if p.grad is not None and p.grad.any()}


# ---------------------------------------------------------------------- the textbook


def whisper_logits(model, utterance, ids):
    features = model.processor.feature_extractor(
        utterance.samples(16_000), sampling_rate=16_000, return_tensors="pt"
    ).input_features
    prompt = model.prompt_ids(utterance.language)
    inputs = torch.tensor([[*prompt, *ids]])
    return model.module(input_features=features.to(model.module.dtype), decoder_input_ids=inputs).logits[
        0, len(prompt) - 1 :
    ]


def qwen_logits(model, utterance, ids):
    request = model.processor.apply_transcription_request(
        [utterance.samples(16_000)], language=model._language_name(utterance.language), sampling_rate=16_000
    )
    prompt = request.pop("input_ids")
    request.pop("attention_mask")
    request["input_features"] = request["input_features"].to(model.module.dtype)
    tokens = torch.cat([prompt, torch.tensor([ids], dtype=torch.long)], dim=1)
    return model.module(input_ids=tokens, **request).logits[0, prompt.shape[1] - 1 :]


def restricted(logits, config, drawn=None):
    """Log-probabilities under temperature, top-k and top-p, by sorting; what was drawn is always inside."""
    scaled = logits / config.temperature
    order = scaled.argsort(dim=-1, descending=True)
    ranked = scaled.gather(-1, order)
    keep = torch.ones_like(ranked, dtype=torch.bool)
    if config.top_k:
        keep[..., config.top_k :] = False
    probabilities = ranked.masked_fill(~keep, -torch.inf).softmax(-1).double()
    keep &= probabilities.cumsum(-1) - probabilities < config.top_p
    inside = torch.zeros_like(keep).scatter(-1, order, keep)
    if drawn is not None:
        inside = inside.scatter(-1, torch.tensor(drawn)[:, None], True)
    return scaled.masked_fill(~inside, -torch.inf).log_softmax(-1)


def autoregressive(logits_of, end_id):
    def score(model, utterance, hypothesis, config):
        """Log-probability of each token, from an encoding of its own."""
        targets = [*hypothesis.token_ids, *([] if hypothesis.truncated else [end_id(model)])]
        logits = logits_of(model, utterance, list(targets[:-1]))[: len(targets)]
        log_probs = restricted(logits, config, targets) if config else logits.log_softmax(-1)
        return log_probs.gather(1, torch.tensor(targets)[:, None]).squeeze(1)

    return score


def ctc_score(model, utterance, hypothesis, config):
    inputs = model.processor(utterance.samples(16_000), sampling_rate=16_000, return_tensors="pt")
    logits = model.module(inputs.input_values.to(model.module.dtype)).logits[0]
    log_probs = restricted(logits, config) if config else logits.log_softmax(-1)
    targets = torch.tensor([hypothesis.token_ids], dtype=torch.long)
    nats = functional.ctc_loss(
        log_probs.clamp(min=-1e6)[:, None], targets, torch.tensor([len(logits)]), torch.tensor([targets.shape[1]]),
        reduction="none",
    )  # fmt: skip
    return -nats


def in_precision(model, dtype):
    """The model in a precision, throughout: the library's RMS norms would round to float32 inside."""
    model.module.to(getattr(torch, dtype))
    for part in model.module.modules():
        if dtype == "float64" and type(part).__name__.endswith("RMSNorm"):
            part.forward = lambda x, part=part: (
                part.weight * x * (x.square().mean(-1, keepdim=True) + part.variance_epsilon).rsqrt()
            )
    return model


FAMILIES = {
    "whisper": (tiny_whisper, autoregressive(whisper_logits, lambda model: model._end_id), 1),
    "qwen3-asr": (tiny_qwen3_asr, autoregressive(qwen_logits, lambda model: model.end_id), 1),
    "ctc": (tiny_wav2vec2_ctc, ctc_score, 0),
}


def textbook_gradient(model, score, ends, config, groups):
    """Mean over utterances of the papers' losses, each draw in a column of its own."""
    losses = []
    for utterance in SPEECH:
        group = groups[utterance.id]
        draws = [i for i, times in enumerate(group.multiplicity) for _ in range(times)]
        assert len(draws) == config.num_rollouts
        rewards = torch.tensor([group.rewards[i] for i in draws], dtype=torch.float64)
        scores = [score(model, utterance, group.hypotheses[i], config) for i in draws]
        totals = torch.stack([values.sum() for values in scores])
        if config.algorithm == "mwer":
            posterior = totals.exp() / totals.exp().sum()
            loss = (posterior * (-rewards - (-rewards).mean())).sum()
        else:
            deviation = rewards.std(correction=0)
            advantages = (rewards - rewards.mean()) / deviation if deviation > 0 else torch.zeros_like(rewards)
            old = torch.tensor([sum(group.hypotheses[i].token_log_probs) for i in draws], dtype=torch.float64)
            drawn = [group.hypotheses[i] for i in draws]
            lengths = torch.tensor([max(1, len(h.token_ids) + ends * (not h.truncated)) for h in drawn])
            ratio = ((totals - old) / lengths).exp()
            low, high = config.clip
            loss = -torch.minimum(ratio * advantages, ratio.clamp(1 - low, 1 + high) * advantages).mean()
        if config.cross_entropy:
            batch = model.collate([utterance])
            labels = batch.inputs["labels"][0]
            ids = labels[labels != -100].tolist()
            reference = replace(group.hypotheses[0], token_ids=tuple(ids[:-1] if ends else ids), truncated=False)
            loss = loss - config.cross_entropy * score(model, utterance, reference, None).sum() / len(ids)
        losses.append(loss)
    torch.stack(losses).mean().backward()


def relative(actual, expected):
    assert actual.keys() == expected.keys()
    difference = sum((actual[n].double() - expected[n].double()).square().sum() for n in expected) ** 0.5
    return float(difference / sum(g.double().square().sum() for g in expected.values()) ** 0.5)


def settings(algorithm, **changes):
    # Few continuations and few tokens, so that draws coincide.
    common = {"num_rollouts": 8, "temperature": 0.7, "top_k": 3, "top_p": 0.95, "max_new_tokens": 2}
    return RlConfig(**common | {"algorithm": algorithm, "updates_per_rollout": 2} | changes)


@pytest.mark.parametrize(("dtype", "bound"), [("float64", 1e-8), ("float32", 1e-4)])
@pytest.mark.parametrize("algorithm", ["mwer", "gspo"])
@pytest.mark.parametrize("family", FAMILIES)
def test_gradient_is_the_textbooks(family, algorithm, dtype, bound):
    """Ragged batches, equal draws collapsed, a tied group passed over, weights moved since the draws."""
    make, score, ends = FAMILIES[family]
    changes = {"clip_low": 0.01, "clip_high": 0.02} if algorithm == "gspo" else {}
    if family == "ctc":
        # Of a frame, of which a text has some forty; what the restricted ones leave out is test_ctc's business.
        changes |= {"temperature": 0.01, "top_k": 0, "top_p": 1.0}
    config = settings(algorithm, **changes)
    model = in_precision(make(), dtype)
    captured = Captured()
    rl = objective(model, config, captured)
    rl.accumulate(step_batches(model))
    moved = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weight in model.module.parameters():
            if weight.requires_grad:
                weight += 0.02 * weight.abs().mean() * torch.randn(weight.shape, generator=moved, dtype=torch.float64)
    model.module.zero_grad()
    rl.accumulate(step_batches(model, number=1))  # the same hypotheses, other weights
    ours = gradients(model)
    groups = captured.groups
    assert any(max(group.multiplicity) > 1 for group in groups.values())
    assert groups[TIED].is_tied
    assert sum(not group.is_tied for group in groups.values()) >= 2
    model.module.zero_grad()
    textbook_gradient(model, score, ends, config, groups)
    assert relative(ours, gradients(model)) <= bound


# ---------------------------------------------------------------------- however it is cut


def step_gradient(config, *, make=tiny_whisper, cut=(3, 1), dtype="float64", reward=None):
    model = make()
    model.module.to(getattr(torch, dtype))
    captured = Captured()
    totals = objective(model, config, captured, reward).accumulate(step_batches(model, cut))
    return gradients(model), totals, captured


@pytest.mark.parametrize(
    "changes",
    [
        {"score_batch_size": 3},  # a group is larger than a part, and is scored in pieces
        {"score_batch_size": 9},
        {"collapse": False},
        {"skip_equal_rewards": False},
        {"collapse": False, "skip_equal_rewards": False, "score_batch_size": 1},
    ],
    ids=str,
)
@pytest.mark.parametrize("algorithm", ["mwer", "gspo", "grpo", "rloo", "dr-grpo"])
def test_parts_collapse_and_skipping_change_no_gradient(algorithm, changes):
    expected, totals, captured = step_gradient(settings(algorithm))
    assert any(max(group.multiplicity) > 1 for group in captured.groups.values())
    actual, again, _ = step_gradient(settings(algorithm, **changes))
    assert relative(actual, expected) < 1e-12
    assert again.loss == pytest.approx(totals.loss, rel=1e-9)
    assert again.count == totals.count == 4


@pytest.mark.parametrize("cut", [(1, 1, 1, 1), (2, 2), (4,)], ids=str)
def test_micro_batches_change_no_gradient(cut):
    """Lists that are searched, as draws depend on the micro-batch."""
    config = settings("mwer", nbest="beam", num_rollouts=3)
    expected, *_ = step_gradient(config)
    actual, *_ = step_gradient(config, cut=cut)
    assert relative(actual, expected) < 1e-9


@pytest.mark.parametrize("algorithm", ["grpo", "rloo", "dr-grpo"])
def test_first_update_is_reinforce(algorithm):
    """Where the newest policy drew, all ratios are 1 and the gradient is minus advantage times that of log P."""
    config = settings(algorithm, cross_entropy=0.0)
    model = tiny_whisper()
    model.module.double()
    captured = Captured()
    objective(model, config, captured).accumulate(step_batches(model))
    ours = gradients(model)
    model.module.zero_grad()
    losses = []
    for utterance in SPEECH:
        group = captured.groups[utterance.id]
        draws = [i for i, times in enumerate(group.multiplicity) for _ in range(times)]
        rewards = torch.tensor([group.rewards[i] for i in draws], dtype=torch.float64)
        above = rewards - rewards.mean()
        if algorithm == "rloo":
            above = above * len(draws) / (len(draws) - 1)
        elif algorithm == "grpo" and not group.is_tied:
            above = above / rewards.std(correction=0)
        for i, advantage in zip(draws, above.tolist(), strict=True):
            score = FAMILIES["whisper"][1](model, utterance, group.hypotheses[i], config)
            divisor = {"grpo": len(score), "rloo": 1, "dr-grpo": config.max_new_tokens}[algorithm]
            losses.append(-advantage * score.sum() / divisor / len(draws) / len(SPEECH))
    torch.stack(losses).sum().backward()
    # A first update clips nothing but what rounding moves, and the clip is 0.2 here.
    assert relative(ours, gradients(model)) < 1e-8


def test_weights_of_languages_scale_their_utterances():
    class Languages:
        def judge(self, utterance, hypotheses):
            return ArbitraryReward().judge(utterance, hypotheses)

    whole, *_ = step_gradient(settings("gspo"), reward=Languages())
    half, *_ = step_gradient(settings("gspo", language_weights=("en=0.5",)), reward=Languages())
    assert relative({name: 2 * gradient for name, gradient in half.items()}, whole) < 1e-12


# ---------------------------------------------------------------------- what a step costs, and what it leaves alone


class Counting:
    """Counts calls of a model's methods."""

    def __init__(self, model, *names):
        self.calls = dict.fromkeys(names, 0)
        for name in names:
            setattr(model, name, self._counted(name, getattr(model, name)))

    def _counted(self, name, method):
        def counted(*arguments, **options):
            self.calls[name] += 1
            return method(*arguments, **options)

        return counted


class TiedReward:
    """Everything is worth the same."""

    def judge(self, utterance, hypotheses):
        return [Judged(-0.1, ErrorCounts(9, 1, 0, 0)) for _ in hypotheses]


@pytest.mark.parametrize("algorithm", ["mwer", "gspo"])
def test_equal_rewards_leave_weights_bit_identical(algorithm):
    """No cross-entropy, no divergence, no weight decay, a fresh optimiser: also where ties are scored all the same."""
    for skips in (True, False):
        model = tiny_whisper(dropout=0.1)
        before = {name: weight.clone() for name, weight in model.module.state_dict().items()}
        counted = Counting(model, "log_prob")
        optimizer = torch.optim.AdamW(model.module.parameters(), lr=0.1, weight_decay=0.0)
        config = settings(algorithm, cross_entropy=0.0, skip_equal_rewards=skips)
        totals = objective(model, config, reward=TiedReward()).accumulate(step_batches(model))
        optimizer.step()
        if skips:
            assert counted.calls["log_prob"] == 0
            assert all(torch.equal(weight, before[name]) for name, weight in model.module.state_dict().items())
        else:  # MWER's posterior times zero; the rounding of a mean may leave 1e-17
            assert max(float(p.grad.abs().max()) for p in model.module.parameters() if p.grad is not None) < 1e-12
        assert totals.watched["tied"] == (4.0, 4.0)


def test_a_tied_step_does_not_stop_an_optimizers_memory():
    """Gradients of skipped steps are zero and not absent, so that momentum fades as it would without skipping."""
    model = tiny_whisper()
    objective(model, settings("gspo", cross_entropy=0.0), reward=TiedReward()).accumulate(step_batches(model))
    moving = [p for p in model.module.parameters() if p.requires_grad]
    assert all(p.grad is not None and not p.grad.any() for p in moving)


def test_dropout_is_off_and_checkpointing_stays_on():
    def run(checkpointed):
        model = tiny_whisper(dropout=0.3, layers=2)
        if checkpointed:
            model.checkpoint_activations()
        counts = []
        layer = model.module.model.decoder.layers[0].fc1
        layer.register_forward_hook(lambda *_: counts.append(torch.is_grad_enabled()))
        torch.manual_seed(int(checkpointed))
        objective(model, settings("gspo")).accumulate(step_batches(model))
        return gradients(model), sum(counts)

    plain, once = run(False)
    again, twice = run(True)
    assert relative(again, plain) < 1e-5
    assert twice == 2 * once


def test_decoder_alone_is_trained_without_a_pass_back_through_the_encoder():
    model = attach_lora(tiny_whisper(), LoraConfig(rank=2, target_modules=("encoder_attn.q_proj",)))
    encoded = []
    original = model.encode
    model.encode = lambda batch: encoded.append(original(batch)) or encoded[-1]
    objective(model, settings("gspo")).accumulate(step_batches(model))
    assert not any(one.states.requires_grad for one in encoded)
    assert gradients(model)


# ---------------------------------------------------------------------- old policies, divergence, state


def move(model, size=0.05):
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for weight in model.module.parameters():
            if weight.requires_grad:
                weight += size * torch.randn(weight.shape, generator=generator)


def test_between_syncs_the_old_policy_draws():
    config = settings("gspo", updates_per_rollout=1, sync_steps=2)
    model, fresh = tiny_whisper(), tiny_whisper()
    captured, expected = Captured(), Captured()
    rl = objective(model, config, captured)
    rl.accumulate(step_batches(model))
    move(model)
    weights = {name: weight.clone() for name, weight in model.module.state_dict().items()}
    model.module.zero_grad()
    totals = rl.accumulate(step_batches(model, number=1))
    assert all(torch.equal(weight, weights[name]) for name, weight in model.module.state_dict().items())
    other = objective(fresh, config, expected)  # has not moved
    other.accumulate(step_batches(fresh))
    other.accumulate(step_batches(fresh, number=1))
    assert {k: g.hypotheses for k, g in captured.groups.items()} == {
        k: g.hypotheses for k, g in expected.groups.items()
    }
    drift, count = totals.watched["drift"]
    assert drift / count > 1e-3
    assert totals.watched["clipped"][0] > 0
    model.module.zero_grad()
    totals = rl.accumulate(step_batches(model, number=2))  # taken over again
    assert totals.watched["drift"][0] / totals.watched["drift"][1] < 1e-5


def test_the_gradient_with_an_old_policy_is_the_textbooks():
    config = settings("gspo", updates_per_rollout=1, sync_steps=4, clip_low=0.01, clip_high=0.02)
    model = tiny_whisper()
    model.module.double()
    captured = Captured()
    rl = objective(model, config, captured)
    rl.accumulate(step_batches(model))
    move(model, 1e-3)
    model.module.zero_grad()
    rl.accumulate(step_batches(model, number=1))
    ours = gradients(model)
    model.module.zero_grad()
    textbook_gradient(model, FAMILIES["whisper"][1], 1, config, captured.groups)
    assert relative(ours, gradients(model)) < 1e-8


def test_divergence_from_the_start_is_k3_per_token():
    config = settings("gspo", policy_kl=2.0, cross_entropy=0.0, updates_per_rollout=1)
    model = attach_lora(tiny_whisper(), LoraConfig(rank=2, dropout=0.0))
    model.module.double()
    captured = Captured()
    totals = objective(model, config, captured, TiedReward()).accumulate(step_batches(model))
    assert totals.loss == pytest.approx(0.0, abs=1e-9)  # updates begin at nothing
    move(model)
    model.module.zero_grad()
    totals = objective(model, config, captured, TiedReward()).accumulate(step_batches(model))
    ours = gradients(model)
    model.module.zero_grad()
    losses = []
    for utterance in SPEECH:
        group = captured.groups[utterance.id]
        for hypothesis, times in zip(group.hypotheses, group.multiplicity, strict=True):
            score = FAMILIES["whisper"][1](model, utterance, hypothesis, config)
            with torch.no_grad(), model.module.disable_adapter():
                base = FAMILIES["whisper"][1](model, utterance, hypothesis, config)
            k3 = (base - score).exp() - (base - score) - 1
            losses.append(2.0 * times / config.num_rollouts / len(SPEECH) * k3.mean())
    loss = torch.stack(losses).sum()
    loss.backward()
    assert totals.loss / totals.count == pytest.approx(loss.item(), rel=1e-9)
    assert loss.item() > 1e-4
    assert relative(ours, gradients(model)) < 1e-8


@pytest.mark.parametrize("changes", [{}, {"updates_per_rollout": 1, "sync_steps": 3}], ids=str)
def test_a_state_in_the_middle_of_a_block_goes_on_bit_for_bit(tmp_path, changes):
    model = tiny_whisper()
    config = settings("gspo", **changes)
    rl = objective(model, config)
    rl.accumulate(step_batches(model))
    move(model)
    torch.save(rl.state_dict(), tmp_path / "state.pt")
    model.module.zero_grad()
    rl.accumulate(step_batches(model, number=1))
    whole = gradients(model)
    resumed = objective(model, config)
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    model.module.zero_grad()
    resumed.accumulate(step_batches(model, number=1))
    assert all(torch.equal(gradient, whole[name]) for name, gradient in gradients(model).items())


def test_ten_steps_without_entropy_stop_the_training():
    model = tiny_whisper()
    rl = objective(model, settings("gspo", min_entropy=50.0, updates_per_rollout=1))
    reasons = [rl.accumulate(step_batches(model, number=number)).stop for number in range(10)]
    assert not any(reasons[:9])
    assert reasons[9] == "entropy below 50 nats per token for 10 steps"


def test_what_a_family_cannot_is_refused_by_name():
    ctc = tiny_wav2vec2_ctc()
    with pytest.raises(ModelError, match="no probability per token"):
        check_model(ctc, RlConfig(algorithm="grpo"))
    with pytest.raises(ModelError, match="method lora"):
        check_model(ctc, RlConfig(policy_kl=0.1))
    with pytest.raises(ModelError, match="beams walk over frames"):
        check_model(ctc, RlConfig(nbest="diverse-beam"))
    parakeet = tiny_parakeet_tdt()
    for nbest in ("beam", "diverse-beam"):
        with pytest.raises(ModelError, match="searches no lists"):
            check_model(parakeet, RlConfig(nbest=nbest))
    assert check_model(parakeet, RlConfig(algorithm="mwer")) is parakeet


def test_lists_with_greedy_and_reference():
    config = settings("mwer", greedy_in_slot_0=True, reference_in_list=True, updates_per_rollout=1)
    gradient, totals, captured = step_gradient(config)
    model = tiny_whisper()
    for utterance in SPEECH:
        group = captured.groups[utterance.id]
        assert sum(group.multiplicity) == config.num_rollouts + 1
        reference = model.target_ids(utterance.text, "en")[:-1]
        assert any(list(h.token_ids) == reference and not h.truncated for h in group.hypotheses)
        with torch.no_grad():
            first = whisper_logits(model, utterance, [])[0]
        assert group.hypotheses[0].token_ids[:1] == (int(first.argmax()),)
    assert gradient
    assert totals.watched["top"][1] == 20.0


@pytest.mark.parametrize("make", [tiny_whisper, tiny_qwen3_asr])
def test_lists_of_groups_of_beams_differ_more_and_are_learnt_from(make):
    """What the step learnt from is what the family's search finds, and more of it is different."""
    model, captured, totals = make(), {}, {}
    for nbest, more in (("beam", {}), ("diverse-beam", {"diversity_penalty": 8.0})):
        config = settings("mwer", nbest=nbest, num_rollouts=4, updates_per_rollout=1, max_new_tokens=3, **more)
        captured[nbest] = Captured()
        model.module.zero_grad()
        totals[nbest] = objective(model, config, captured[nbest]).accumulate(step_batches(model, cut=(4,)))
        assert gradients(model)

    def first_tokens(nbest):
        return sum(len({h.token_ids[:1] for h in g.hypotheses}) for g in captured[nbest].groups.values())

    assert first_tokens("diverse-beam") > first_tokens("beam")
    assert not {"entropy", "tokens/s"} & totals["diverse-beam"].watched.keys()
    with torch.no_grad():
        encoded = model.encode(model.collate(SPEECH))
    found = model.nbest(encoded, 4, SamplingOptions(max_new_tokens=3), BeamGroups(count=4, penalty=8.0))
    for utterance, expected in zip(SPEECH, found, strict=True):
        assert list(captured["diverse-beam"].groups[utterance.id].hypotheses) == expected


@pytest.mark.parametrize("nbest", ["sample", "beam"])
def test_mwer_learns_from_transducers_and_lists_of_ctc(nbest):
    makes = [tiny_wav2vec2_ctc] + ([tiny_parakeet_tdt] if nbest == "sample" else [])
    for make in makes:
        model = make()
        config = settings("mwer", nbest=nbest, num_rollouts=3, updates_per_rollout=1, top_k=0, top_p=1.0)
        objective(model, config).accumulate(step_batches(model))
        assert gradients(model)


# ---------------------------------------------------------------------- encodings that are kept

DECODER_ALONE = LoraConfig(rank=2, dropout=0.0, target_modules=("encoder_attn.q_proj", "encoder_attn.v_proj"))


def frozen_whisper():
    return attach_lora(tiny_whisper(), DECODER_ALONE)


def frozen_qwen():
    targets = (r"model\.language_model\..*\.(q_proj|v_proj)",)
    return attach_lora(tiny_qwen3_asr(), LoraConfig(rank=2, dropout=0.0, target_modules=targets[0]))


@pytest.mark.parametrize("make", [frozen_whisper, frozen_qwen])
@pytest.mark.parametrize("changes", [{}, {"sync_steps": 2, "updates_per_rollout": 1}, {"policy_kl": 0.1}], ids=str)
def test_kept_encodings_change_no_gradient(make, changes):
    found = []
    for recurring in ((), SPEECH):
        model = make()
        model.module.double()
        encoded = Counting(model, "encode")
        rl = PolicyObjective(
            model, Accelerator(), settings("gspo", **changes), ArbitraryReward(), seed=3, recurring=recurring
        )
        steps = []
        for number in range(2):
            move(model, 1e-3)
            model.module.zero_grad()
            rl.accumulate(step_batches(model, number=number))
            steps.append(gradients(model))
        found.append((steps, encoded.calls["encode"]))
    (plain, each), (kept, once) = found
    assert each == 4  # two micro-batches a step, whatever else needs their audio
    assert once == 1 + len(SPEECH)
    for actual, expected in zip(kept, plain, strict=True):
        assert relative(actual, expected) < 1e-9


def test_encodings_are_kept_only_behind_a_frozen_encoder_and_where_they_fit():
    def kept(model, **changes):
        encoded = Counting(model, "encode")
        config = settings("gspo", updates_per_rollout=1, **changes)
        rl = PolicyObjective(model, Accelerator(), config, ArbitraryReward(), seed=3, recurring=SPEECH)
        before = encoded.calls["encode"]
        for number in range(2):
            rl.accumulate(step_batches(model, number=number))
        return encoded.calls["encode"] - before

    assert kept(frozen_whisper()) == len(SPEECH)
    assert kept(attach_lora(tiny_whisper(), LoraConfig(rank=2))) == 4
    assert kept(frozen_whisper(), keep_encodings_gb=1e-6) == 4
    assert kept(frozen_whisper(), keep_encodings_gb=0.0) == 4


def test_a_reference_costs_no_pass_of_its_own():
    """In tied groups alone, whose hypotheses are not scored."""
    model = tiny_whisper()
    counted = Counting(model, "log_prob")
    objective(model, settings("gspo")).accumulate(step_batches(model, cut=(4,)))
    assert counted.calls["log_prob"] == 2


def test_the_share_of_draws_that_were_cut_is_watched():
    _, totals, captured = step_gradient(settings("gspo"))
    cut = [
        times * hypothesis.truncated
        for group in captured.groups.values()
        for hypothesis, times in zip(group.hypotheses, group.multiplicity, strict=True)
    ]
    assert totals.watched["truncated"] == (sum(cut), 4 * 8)
    assert sum(cut) > 0
