"""CTC by brute force: loss, search, draws and scores against the sum over all paths of tiny lattices."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict

import numpy as np
import pytest
import torch

from asr_headroom.errors import DataError, ShapeError
from asr_headroom.models.ctc import CtcEncoded
from asr_headroom.models.ctc_paths import ctc_nats, draw_paths, frames_needed, text_log_probs
from asr_headroom.models.ctc_search import collapse, prefix_beam_search
from asr_headroom.models.decoding import Hypothesis, SamplingOptions
from asr_headroom.models.lora import LoraConfig, attach_lora
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_mel_ctc, tiny_whisper_ctc
from asr_headroom.testing.tiny.wav2vec2_ctc import tiny_wav2vec2_ctc

BLANK = 1


def lattice(frames=5, vocab=4, seed=0):
    """[frames, vocab] float64 logits."""
    return torch.randn(frames, vocab, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2


def plain_collapse(path):
    """Groups, then blanks out; written apart from the code under test."""
    return tuple(token for token, _ in itertools.groupby(path) if token != BLANK)


def all_texts(probs):
    """Probability of every text, summed over every path."""
    texts = defaultdict(float)
    for path in itertools.product(range(probs.shape[1]), repeat=len(probs)):
        texts[plain_collapse(path)] += math.prod(float(probs[t, token]) for t, token in enumerate(path))
    return texts


@pytest.mark.parametrize("path", [[], [1, 1], [1, 0, 0, 1, 0], [2, 2, 3, 3, 1, 3], [0, 1, 1, 2]])
def test_collapse(path):
    assert collapse(path, BLANK) == plain_collapse(path)


def test_loss_of_every_text_is_minus_the_log_of_all_its_paths():
    logits = lattice()
    texts = all_texts(logits.softmax(-1))
    targets = [text for text in texts if len(text) > 0] + [()]
    log_probs = logits.log_softmax(-1)[None].expand(len(targets), -1, -1)
    nats = ctc_nats(log_probs, torch.full((len(targets),), 5), targets, BLANK)
    expected = torch.tensor([-math.log(texts[target]) for target in targets], dtype=torch.float64)
    torch.testing.assert_close(nats, expected)
    assert math.isclose(float((-nats).exp().sum()), 1.0)


def test_frames_needed_is_the_length_of_the_shortest_path():
    for text in [(), (0,), (0, 0), (0, 2, 2, 2), (2, 0, 2)]:
        shortest = next(
            length
            for length in range(9)
            if any(plain_collapse(path) == text for path in itertools.product(range(3), repeat=length))
        )
        assert frames_needed(text) == shortest


def test_frames_beyond_the_real_ones_do_not_count():
    logits = lattice()
    short = ctc_nats(logits[None, :3].log_softmax(-1), torch.tensor([3]), [(0, 2)], BLANK)
    padded = ctc_nats(logits[None].log_softmax(-1), torch.tensor([3]), [(0, 2)], BLANK)
    torch.testing.assert_close(short, padded)


@pytest.mark.parametrize("seed", range(5))
def test_a_beam_that_holds_everything_finds_the_exact_ranking(seed):
    log_probs = lattice(seed=seed).log_softmax(-1)
    texts = all_texts(log_probs.exp())
    found = prefix_beam_search(log_probs.numpy(), 10_000, BLANK)
    assert len(found) == len(texts)
    np.testing.assert_allclose(
        [prefix.log_prob for prefix in found], np.log(sorted(texts.values(), reverse=True)), atol=1e-9
    )
    for prefix in found:
        assert math.isclose(math.exp(prefix.log_prob), texts[prefix.token_ids], rel_tol=1e-9)


def test_a_narrow_beam_keeps_lower_bounds_and_finds_what_the_best_path_misses():
    # Each frame's best is the blank, yet the token is likelier over all its paths.
    log_probs = np.log(np.array([[0.4, 0.6], [0.4, 0.6]]))
    assert collapse(log_probs.argmax(1).tolist(), BLANK) == ()
    best, second = prefix_beam_search(log_probs, 2, BLANK)
    assert best.token_ids == (0,)
    assert math.isclose(math.exp(best.log_prob), 0.64)
    assert math.isclose(math.exp(second.log_prob), 0.36)
    exact = all_texts(lattice().softmax(-1))
    for prefix in prefix_beam_search(lattice().log_softmax(-1).numpy(), 3, BLANK):
        assert math.exp(prefix.log_prob) <= exact[prefix.token_ids] * (1 + 1e-9)


def test_fewer_tokens_per_frame_leave_out_the_unlikely_ones():
    log_probs = lattice(vocab=6).log_softmax(-1).numpy()
    allowed = [set(np.argsort(-np.delete(row, BLANK))[:2]) for row in log_probs]
    names = [token for token in range(6) if token != BLANK]
    for prefix in prefix_beam_search(log_probs, 50, BLANK, tokens_per_frame=2):
        assert set(prefix.token_ids) <= {names[place] for places in allowed for place in places}


@pytest.mark.parametrize("options", [SamplingOptions(), SamplingOptions(temperature=0.6, top_k=3, top_p=0.9)])
def test_draws_are_as_frequent_as_the_sum_over_paths_says(options):
    logits = lattice(frames=4)[None]
    count = 20_000
    options = SamplingOptions(
        num_samples=count, temperature=options.temperature, top_k=options.top_k, top_p=options.top_p, seed=3
    )
    drawn = defaultdict(int)
    for path in draw_paths(logits, options)[0].tolist():
        drawn[collapse(path, BLANK)] += 1
    # The restricted frames by hand: the k likeliest, of those the fewest that reach p.
    probs = (logits[0] / options.temperature).softmax(-1)
    if options.top_k:
        probs = torch.where(probs >= probs.topk(options.top_k).values[:, -1:], probs, 0.0)
        probs = probs / probs.sum(-1, keepdim=True)
        for row in probs:
            reached = 0.0
            for token in row.argsort(descending=True).tolist():
                inside, reached = reached < options.top_p, reached + float(row[token])
                if not inside:
                    row[token] = 0.0
        probs = probs / probs.sum(-1, keepdim=True)
    expected = {text: p for text, p in all_texts(probs).items() if p > 0}
    assert set(drawn) <= set(expected)
    for text, probability in expected.items():
        deviation = math.sqrt(count * probability * (1 - probability))
        assert abs(drawn[text] - count * probability) <= 4.5 * deviation + 1
        score = text_log_probs(logits, torch.tensor([4]), [0], [text], options, BLANK)
        assert math.isclose(float(score), math.log(probability), rel_tol=1e-6, abs_tol=1e-9)


def test_a_draw_does_not_depend_on_padding_behind_it():
    logits = lattice(frames=6, seed=2)[None].float()
    options = SamplingOptions(num_samples=8)
    assert torch.equal(draw_paths(logits, options)[..., :4], draw_paths(logits[:, :4], options))


def test_a_text_that_cannot_be_drawn_any_more_has_a_finite_score_and_gradient():
    logits = lattice()[None].float().requires_grad_()
    options = SamplingOptions(top_k=1)
    likeliest = logits[0].argmax(-1).tolist()
    never = next(token for token in range(4) if token not in (*likeliest, BLANK))
    scores = text_log_probs(
        logits, torch.tensor([5]), [0, 0], [collapse(likeliest, BLANK), (never, never)], options, BLANK
    )
    assert math.isclose(float(scores[0].detach()), 0.0, abs_tol=1e-6)
    assert -1e4 < float(scores[1].detach()) < 0
    scores.sum().backward()
    assert logits.grad.isfinite().all()


def test_gradient_of_a_score_equals_finite_differences():
    logits = lattice()[None].requires_grad_()
    options = SamplingOptions(temperature=0.7)
    torch.autograd.gradcheck(
        lambda values: text_log_probs(values, torch.tensor([5]), [0, 0], [(0, 2), (3,)], options, BLANK), (logits,)
    )


def test_hypotheses_that_do_not_fit_the_rows_are_refused():
    model = tiny_wav2vec2_ctc()
    encoded = CtcEncoded(torch.zeros(1, 3, len(model.processor.tokenizer)), torch.tensor([3]), (0,))
    fits = Hypothesis(text="", token_ids=(5, 6, 5))
    assert model.log_prob(encoded, [fits], SamplingOptions()).values.shape == (1, 1)
    with pytest.raises(DataError, match="needs 4 frames, beyond the 3"):
        model.log_prob(encoded, [Hypothesis(text="", token_ids=(5, 5, 6))], SamplingOptions())
    with pytest.raises(ShapeError, match="2 hypotheses for 1 rows"):
        model.log_prob(encoded, [fits, fits], SamplingOptions())


@pytest.mark.parametrize("adapted", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        tiny_wav2vec2_ctc,
        tiny_whisper_ctc,
        lambda: tiny_mel_ctc(kind="parakeet"),
        lambda: tiny_mel_ctc(kind="lasr"),
        lambda: tiny_mel_ctc(kind="granite"),
    ],
)
def test_logits_are_not_rounded_to_half_precision_under_autocast(make, adapted):
    model = attach_lora(make(), LoraConfig(rank=2)) if adapted else make()
    batch = model.collate([tone_utterance("abc")])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model.encode(batch).logits
        loss = model.loss(batch).nats
    assert logits.dtype == torch.float32
    assert (logits != logits.bfloat16().float()).float().mean() > 0.9
    loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.module.parameters())
