"""Hypotheses of audio encoded once: against the library's own decoder, token by token."""

from __future__ import annotations

import pytest
import torch
from transformers import GenerationConfig, GenerationMixin
from transformers.modeling_outputs import BaseModelOutput

from asr_headroom.errors import DataError, ShapeError
from asr_headroom.models.decoding import DecodingOptions, Hypothesis, LoopGuard, SamplingOptions
from asr_headroom.models.lora import LoraConfig, attach_lora
from asr_headroom.models.protocols import Samplable
from asr_headroom.models.whisper_decoding import SharedAudio, decode
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_whisper

RAGGED = [tone_utterance("abc"), tone_utterance("a", language="fr"), tone_utterance("cabbage", language="zh")]
ROWS = [0, 1, 2, 1, 1, 0]
FREE = LoopGuard(max_period=0)


def encoded_of(model):
    return model.encode(model.collate(RAGGED))


def hypotheses_of(*rows):
    return [Hypothesis(text="", token_ids=tuple(row)) for row in rows]


HYPOTHESES = hypotheses_of([70, 71, 72], [], [90], [80, 81, 82, 83, 84], [66, 65], [70, 71, 72])


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("rows", [[0, 1, 2], [0, 0, 1, 1, 2, 2], [2, 0, 2, 1, 2], [1, 1]])
def test_decoder_equals_the_librarys(rows, attention):
    model = tiny_whisper(layers=2)
    model.module.set_attn_implementation(attention)
    decoder = model.module.model.decoder
    states = model.encode_waveforms(model.collate(RAGGED).inputs["waveforms"])
    ids = torch.randint(0, 256, (len(rows), 9))
    with torch.no_grad():
        ours = decode(decoder, ids, SharedAudio.project(decoder, states, rows))
        theirs = decoder(input_ids=ids, encoder_hidden_states=states[rows], use_cache=False).last_hidden_state
    assert ours.shape == theirs.shape == (len(rows), 9, 32)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_gradients_of_shared_audio_equal_the_librarys():
    grads = []
    for shared in (True, False):
        model = tiny_whisper(layers=2)
        model.module.double()
        states = model.encode_waveforms(model.collate(RAGGED).inputs["waveforms"])
        ids = torch.arange(6 * 5).view(6, 5)
        decoder = model.module.model.decoder
        if shared:
            hidden = decode(decoder, ids, SharedAudio.project(decoder, states, ROWS))
        else:
            hidden = decoder(input_ids=ids, encoder_hidden_states=states[ROWS], use_cache=False).last_hidden_state
        model.module.proj_out(hidden).log_softmax(-1)[..., 7].sum().backward()
        grads.append(torch.cat([p.grad.flatten() for p in model.module.parameters() if p.grad is not None]))
    assert (grads[0] - grads[1]).norm() / grads[1].norm() < 1e-10


@pytest.mark.parametrize("multilingual", [True, False])
def test_log_prob_equals_the_library_token_by_token(multilingual):
    model = tiny_whisper(layers=2, multilingual=multilingual)
    scores = model.log_prob(encoded_of(model).select(ROWS), HYPOTHESES, SamplingOptions())
    assert scores.values.shape == scores.mask.shape == (6, 6)
    assert scores.values.dtype == torch.float32
    waveforms = model.collate(RAGGED).inputs["waveforms"]
    end = model.module.generation_config.eos_token_id
    for row, hypothesis in zip(range(6), HYPOTHESES, strict=True):
        utterance = ROWS[row]
        ids = [*hypothesis.token_ids, end]
        assert scores.mask[row].tolist() == [column < len(ids) for column in range(6)]
        assert not scores.values[row, len(ids) :].any()
        prefix = model.prompt_ids(RAGGED[utterance].language)
        for position, token in enumerate(ids):
            with torch.no_grad():
                states = model.encode_waveforms(waveforms[utterance : utterance + 1])
                inputs = torch.tensor([prefix + ids[:position]])
                hidden = model.module.model.decoder(input_ids=inputs, encoder_hidden_states=states).last_hidden_state
                expected = model.module.proj_out(hidden[0, -1]).log_softmax(-1)[token]
            assert scores.values[row, position].item() == pytest.approx(expected.item(), abs=1e-5)


def test_keys_and_values_are_projected_once_per_utterance():
    model = tiny_whisper()
    counted = []
    projection = model.module.model.decoder.layers[0].encoder_attn.k_proj
    projection.register_forward_hook(lambda module, inputs, output: counted.append(len(inputs[0])))
    encoded = encoded_of(model).select([0, 0, 0, 2])
    model.sample(encoded, SamplingOptions(num_samples=5, max_new_tokens=6))
    assert counted == [2]  # two utterances are left, whatever the rows and samples
    model.log_prob(encoded, hypotheses_of([70], [71], [72], [73]), SamplingOptions())
    assert counted == [2, 2]


def test_pruned_rows_keep_the_audio_of_their_own_utterance():
    """Rows end at different steps; what is left must go on with its own keys and values."""
    model = tiny_whisper(layers=2)
    with torch.no_grad():
        model.module.proj_out.weight[model.module.generation_config.eos_token_id] *= 2
    encoded = encoded_of(model)
    options = SamplingOptions(num_samples=12, max_new_tokens=40, temperature=1.5)
    drawn = model.sample(encoded, options)
    flat = [hypothesis for row in drawn for hypothesis in row]
    assert len({len(hypothesis.token_ids) for hypothesis in flat}) > 4
    scores = model.log_prob(encoded.select([row for row in range(3) for _ in range(12)]), flat, options)
    for hypothesis, values, mask in zip(flat, scores.values, scores.mask, strict=True):
        torch.testing.assert_close(values[mask], torch.tensor(hypothesis.token_log_probs), atol=1e-5, rtol=1e-5)


def test_sampling_is_deaf_to_dropout_and_leaves_the_mode_as_it_was():
    model = tiny_whisper(dropout=0.5)
    encoded = encoded_of(model)
    options = SamplingOptions(max_new_tokens=8)
    still = model.sample(encoded, options)
    model.module.train()
    model.module.model.encoder.eval()
    assert model.sample(encoded, options) == still
    assert model.module.model.decoder.training
    assert not model.module.model.encoder.training


def test_samples_never_outgrow_the_decoders_positions():
    model = tiny_whisper(max_target_positions=12)
    encoded = encoded_of(model)
    with torch.no_grad():
        model.module.proj_out.weight[model.module.generation_config.eos_token_id] = -9
    options = SamplingOptions(max_new_tokens=50)
    rows = model.sample(encoded, options)
    assert {len(h.token_ids) for row in rows for h in row if h.truncated} == {8}
    scores = model.log_prob(encoded, [row[0] for row in rows], options)
    assert scores.values.isfinite().all()
    with pytest.raises(DataError, match="has 9 tokens, beyond the 8"):
        model.log_prob(encoded, hypotheses_of(range(8), [], []), options)


def test_one_hypothesis_per_row():
    model = tiny_whisper()
    with pytest.raises(ShapeError, match="2 hypotheses for 3 rows"):
        model.log_prob(encoded_of(model), HYPOTHESES[:2], SamplingOptions())


def test_nothing_but_truncated_empty_hypotheses_has_no_columns():
    model = tiny_whisper()
    empty = [Hypothesis(text="", truncated=True)] * 3
    assert model.log_prob(encoded_of(model), empty, SamplingOptions()).values.shape == (3, 0)


def test_nbest_holds_what_an_exhaustive_search_finds():
    """Two tokens deep, all sequences scored by the library's decoder; a beam as wide as the vocabulary misses none."""
    model = tiny_whisper(seed=3)
    stored = model.module.generation_config
    end = stored.eos_token_id
    encoded = model.encode(model.collate(RAGGED[:1]))
    prompt = model.prompt_ids("en")
    vocab = model.module.config.vocab_size
    found = model.nbest(encoded, vocab, SamplingOptions(max_new_tokens=2))[0]
    with torch.no_grad():
        inputs = torch.tensor([[*prompt, token] for token in range(vocab)])
        states = encoded.states.expand(vocab, -1, -1)
        hidden = model.module.model.decoder(input_ids=inputs, encoder_hidden_states=states).last_hidden_state
        log_probs = model.module.proj_out(hidden[:, -2:]).log_softmax(-1)
    first, second = log_probs[0, 0].clone(), log_probs[:, 1].clone()
    first[stored.suppress_tokens] = second[:, stored.suppress_tokens] = -torch.inf
    totals = first[:, None] + second
    totals[end] = -torch.inf
    totals[end, 0] = first[end]
    best = [divmod(index, vocab) for index in totals.flatten().topk(25).indices.tolist()]
    expected = [() if a == end else (a,) if b == end else (a, b) for a, b in best]
    texts = list(dict.fromkeys(model._text(list(ids)).strip() for ids in expected))
    assert [hypothesis.text for hypothesis in found][: len(texts)] == texts
    assert len(texts) > 10


def test_lists_are_ranked_by_total_log_probability_and_differ_in_text():
    model = tiny_whisper(layers=2, seed=5)
    model.module.generation_config.suppress_tokens += range(94, 256)  # half a character decodes to the same as another
    options = SamplingOptions(max_new_tokens=6)
    encoded = encoded_of(model)
    lists = model.nbest(encoded, 5, options)
    for row, hypotheses in enumerate(lists):
        assert 1 < len(hypotheses) == len({h.text for h in hypotheses}) <= 5
        scores = model.log_prob(encoded.select([row] * len(hypotheses)), hypotheses, options)
        totals = scores.values.sum(dim=1)
        assert (totals[:-1] >= totals[1:] - 1e-4).all()
    single = model.nbest(encoded, 1, options)
    greedy = model.transcribe(RAGGED, DecodingOptions(max_new_tokens=6, loop_guard=FREE))
    assert [row[0].token_ids for row in single] == [h.token_ids for h in greedy]


def test_lists_are_those_of_the_librarys_beam_search():
    """Ranked by the sum; the library keeps no padding of rows that ended."""
    model = tiny_whisper(layers=2, seed=5, scale=0.1)
    encoded, core = encoded_of(model), model.module
    stored = core.generation_config
    end = stored.eos_token_id
    sequences = GenerationMixin.generate(
        core,
        encoder_outputs=BaseModelOutput(last_hidden_state=encoded.states),
        decoder_input_ids=encoded.prompts,
        generation_config=GenerationConfig(
            max_length=encoded.prompts.shape[1] + 6, num_beams=4, num_return_sequences=4, length_penalty=0.0,
            suppress_tokens=stored.suppress_tokens, begin_suppress_tokens=stored.begin_suppress_tokens,
            decoder_start_token_id=stored.decoder_start_token_id, eos_token_id=end, pad_token_id=end,
        ),
    )  # fmt: skip
    rows = [[token for token in row if token != end] for row in sequences[:, encoded.prompts.shape[1] :].tolist()]
    for row, found in enumerate(model.nbest(encoded, 4, SamplingOptions(max_new_tokens=6))):
        texts = list(dict.fromkeys(model._text(tokens).strip() for tokens in rows[4 * row : 4 * row + 4]))
        assert [hypothesis.text for hypothesis in found] == texts


def test_gradients_flow_to_encoder_and_updates_and_are_the_same_when_checkpointed():
    gradients = []
    for again in (False, True):
        model = attach_lora(tiny_whisper(layers=2), LoraConfig(rank=2, dropout=0.0))
        with torch.no_grad():
            for name, parameter in model.module.named_parameters():
                if "lora_B" in name:
                    parameter.fill_(0.1)
        if again:
            model.checkpoint_activations()
        model.module.train()
        model.log_prob(encoded_of(model).select(ROWS), HYPOTHESES, SamplingOptions()).values.sum().backward()
        named = {n: p.grad for n, p in model.module.named_parameters() if p.requires_grad}
        assert all(grad is not None and grad.any() for grad in named.values())
        gradients.append(torch.cat([grad.flatten() for grad in named.values()]))
    torch.testing.assert_close(gradients[0], gradients[1])


def test_whisper_is_samplable():
    assert isinstance(tiny_whisper(), Samplable)


@pytest.mark.gpu
def test_a_gpu_scores_and_draws_as_the_cpu():
    cpu, gpu = tiny_whisper(layers=2), tiny_whisper(layers=2)
    gpu.module.cuda()
    options = SamplingOptions(temperature=0.9, top_p=0.9, top_k=40, max_new_tokens=10)
    on_gpu = gpu.encode(gpu.collate(RAGGED).to("cuda")).select(ROWS)
    on_cpu = encoded_of(cpu).select(ROWS)
    drawn = [row[0] for row in gpu.sample(on_gpu, options)]
    scores = [m.log_prob(e, drawn, options).values.cpu() for m, e in ((gpu, on_gpu), (cpu, on_cpu))]
    torch.testing.assert_close(scores[0], scores[1], atol=1e-2, rtol=1e-2)
    assert len(gpu.nbest(on_gpu, 3, options)) == len(ROWS)
