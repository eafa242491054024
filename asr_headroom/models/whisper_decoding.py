"""Whisper's decoder over audio that is encoded once: shared cross-attention, drawing, scoring, searching.

Cross-attention has no mask, so the queries of all hypotheses of an utterance are laid behind one another and attend to
one copy of its keys and values: :class:`SharedAudio`. The library's decoder would project and hold a copy per
hypothesis. :func:`decode` is that decoder otherwise, and equals it (a test compares them).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers import DynamicCache, GenerationConfig, GenerationMixin
from transformers.masking_utils import create_causal_mask
from transformers.modeling_outputs import BaseModelOutput

from asr_headroom.models.decoding import LoopGuard, SamplingOptions
from asr_headroom.models.sampling import each_token, head_logits, hidden_log_probs, joined_rows
from asr_headroom.models.search import cut_at_end, loop_stopping

__all__ = ["SharedAudio", "WhisperContinuation", "WhisperEncoded", "decode", "score", "search"]


@dataclass(frozen=True)
class WhisperEncoded:
    """Audio encoded once, and the rows that hypotheses are drawn or scored for.

    Attributes:
        states: [utterances, frames, hidden] encoder output.
        prompts: [rows, tokens] decoder input before the first target.
        utterances: [rows] index of each row's audio.
    """

    states: torch.Tensor
    prompts: torch.Tensor
    utterances: tuple[int, ...]

    def select(self, indices: Sequence[int]) -> WhisperEncoded:
        """These rows, in this order; a row may be taken several times, its audio stays one."""
        utterances = tuple(self.utterances[index] for index in indices)
        return WhisperEncoded(self.states, self.prompts[list(indices)], utterances)

    def joined(self, others: Sequence[WhisperEncoded]) -> WhisperEncoded:
        """These rows, then those of the others, of the same window."""
        parts = [self, *others]
        states, prompts = torch.cat([p.states for p in parts]), torch.cat([p.prompts for p in parts])
        return WhisperEncoded(states, prompts, joined_rows([(p.utterances, len(p.states)) for p in parts]))

    def __len__(self) -> int:
        return len(self.utterances)


class SharedAudio:
    """Cross-attention keys and values of utterances, computed once each, and which decoder row attends to which.

    Args:
        layers: keys and values of each decoder layer, [utterances, heads, frames, head width] each.
        rows: [rows] int64, index of each row's utterance.
    """

    def __init__(self, layers: Sequence[tuple[torch.Tensor, torch.Tensor]], rows: torch.Tensor) -> None:
        self._layers = layers
        self.rows = rows
        counts = torch.bincount(rows, minlength=len(layers[0][0]))
        # Row i is the slot-th of its utterance; groups of equal size in order need no padding, only another view.
        order = rows.argsort(stable=True)
        starts = counts.cumsum(0) - counts
        self._slots = torch.empty_like(rows)
        self._slots[order] = torch.arange(len(rows), device=rows.device) - starts[rows[order]]
        self._group = int(counts.max()) if len(rows) else 0
        self._even = bool((counts == self._group).all() and (rows[1:] >= rows[:-1]).all())

    @classmethod
    def project(cls, decoder: Any, states: torch.Tensor, rows: Sequence[int]) -> SharedAudio:
        """Keys and values of the utterances that ``rows`` names.

        Args:
            decoder: a ``WhisperDecoder``.
            states: [utterances, frames, hidden] encoder output.
            rows: [rows] index of each row's utterance.
        """
        index = torch.tensor(rows, dtype=torch.long, device=states.device)
        used, rows_of_used = index.unique(return_inverse=True)
        if len(used) != len(states):
            states = states[used]
        layers = []
        for layer in decoder.layers:
            attention = layer.encoder_attn
            shape = (*states.shape[:2], attention.num_heads, attention.head_dim)
            keys, values = attention.k_proj(states), attention.v_proj(states)
            layers.append((keys.view(shape).transpose(1, 2), values.view(shape).transpose(1, 2)))
        return cls(layers, rows_of_used)

    def attending(self, rows: torch.Tensor) -> SharedAudio:
        """The same audio for other rows; utterances that none of them names are dropped."""
        used, rows_of_used = rows.unique(return_inverse=True)
        layers = self._layers
        if len(used) != len(layers[0][0]):
            layers = [(keys[used], values[used]) for keys, values in layers]
        return SharedAudio(layers, rows_of_used)

    def attend(self, number: int, attention: Any, hidden: torch.Tensor) -> torch.Tensor:
        """Output of a layer's cross-attention.

        Args:
            number: of the layer.
            attention: its ``WhisperAttention``.
            hidden: [rows, tokens, hidden].

        Returns:
            [rows, tokens, hidden].
        """
        keys, values = self._layers[number]
        count, tokens = hidden.shape[:2]
        utterances, heads, _, width = keys.shape
        queries = (attention.q_proj(hidden) * attention.scaling).view(count, tokens, heads, width)
        if not self._even:
            grouped = queries.new_zeros(utterances, self._group, tokens, heads, width)
            queries = grouped.index_put((self.rows, self._slots), queries)
        queries = queries.reshape(utterances, self._group * tokens, heads, width).transpose(1, 2)
        dropout = attention.dropout if attention.training else 0.0
        output = functional.scaled_dot_product_attention(queries, keys, values, dropout_p=dropout, scale=1.0)
        output = output.transpose(1, 2).reshape(utterances, self._group, tokens, heads * width)
        output = output.flatten(0, 1) if self._even else output[self.rows, self._slots]
        return attention.out_proj(output)


def decode(decoder: Any, ids: torch.Tensor, audio: SharedAudio, cache: DynamicCache | None = None) -> torch.Tensor:
    """Decoder output for some tokens of every row.

    Args:
        decoder: a ``WhisperDecoder``, with low-rank updates or without.
        ids: [rows, tokens]; those after what ``cache`` holds.
        audio: what the rows attend to.
        cache: of self-attention; it grows by ``ids``.

    Returns:
        [rows, tokens, hidden] after the last norm.
    """
    past = cache.get_seq_length() if cache is not None else 0
    positions = torch.arange(past, past + ids.shape[1], device=ids.device)[None].expand(ids.shape)
    hidden = decoder.embed_tokens(ids)
    hidden = hidden + decoder.embed_positions(ids, past_key_values_length=past, position_ids=positions)
    hidden = functional.dropout(hidden, p=decoder.dropout, training=decoder.training)
    mask = create_causal_mask(
        config=decoder.config,
        inputs_embeds=hidden,
        attention_mask=None,
        past_key_values=cache,
        position_ids=positions,
    )
    for number, layer in enumerate(decoder.layers):
        if decoder.training and decoder.layerdrop > 0 and torch.rand([]) < decoder.layerdrop:
            continue
        inputs = (number, layer, hidden, mask, audio, cache)
        again = layer.gradient_checkpointing and layer.training and cache is None
        hidden = checkpoint(_layer, *inputs, use_reentrant=False) if again else _layer(*inputs)
    return decoder.layer_norm(hidden)


def _layer(
    number: int,
    layer: Any,
    hidden: torch.Tensor,
    mask: Any,
    audio: SharedAudio,
    cache: DynamicCache | None,
) -> torch.Tensor:
    def dropped(values: torch.Tensor, probability: float) -> torch.Tensor:
        return functional.dropout(values, p=probability, training=layer.training)

    attended, _ = layer.self_attn(layer.self_attn_layer_norm(hidden), attention_mask=mask, past_key_values=cache)
    hidden = hidden + dropped(attended, layer.dropout)
    heard = audio.attend(number, layer.encoder_attn, layer.encoder_attn_layer_norm(hidden))
    hidden = hidden + dropped(heard, layer.dropout)
    inner = dropped(layer.activation_fn(layer.fc1(layer.final_layer_norm(hidden))), layer.activation_dropout)
    return hidden + dropped(layer.fc2(inner), layer.dropout)


class WhisperContinuation:
    """Draws in progress: prompts are read once per row, then each row goes on ``num_samples`` times.

    Args:
        core: a ``WhisperForConditionalGeneration``.
        encoded: audio and prompts.
        num_samples: sequences per row.
    """

    def __init__(self, core: Any, encoded: WhisperEncoded, num_samples: int) -> None:
        self._core = core
        self._cache = DynamicCache()
        audio = SharedAudio.project(core.model.decoder, encoded.states, encoded.utterances)
        hidden = decode(core.model.decoder, encoded.prompts, audio, self._cache)
        self.first_logits: torch.Tensor = head_logits(core.proj_out, hidden[:, -1]).repeat_interleave(
            num_samples, dim=0
        )
        """[rows x num_samples, vocab] of the first token; the draws of a row are neighbours."""
        self._cache.batch_repeat_interleave(num_samples)
        self._audio = audio.attending(audio.rows.repeat_interleave(num_samples))

    def step(self, ids: torch.Tensor) -> torch.Tensor:
        """Logits [rows, vocab] after ``ids`` [rows]."""
        hidden = decode(self._core.model.decoder, ids[:, None], self._audio, self._cache)
        return head_logits(self._core.proj_out, hidden[:, -1])

    def keep(self, rows: torch.Tensor) -> None:
        """Only these rows go on."""
        self._cache.batch_select_indices(rows)
        self._audio = self._audio.attending(self._audio.rows[rows])


def score(
    core: Any,
    encoded: WhisperEncoded,
    targets: Sequence[Sequence[int]],
    options: SamplingOptions | Sequence[SamplingOptions],
    *,
    padding_id: int,
) -> torch.Tensor:
    """[tokens] log-probabilities of ragged targets, row after row, all in one pass.

    Args:
        core: a ``WhisperForConditionalGeneration``.
        encoded: audio and prompts; one row per target.
        targets: [rows] token ids, the end token included where it counts.
        options: the distribution; of all rows, or of each.
        padding_id: fed after a row's last token; nothing sees it.
    """
    device = encoded.states.device
    lengths = torch.tensor([len(target) for target in targets], device=device)
    width = max(map(len, targets), default=0)
    padded = torch.tensor([[*target, *[padding_id] * (width - len(target))] for target in targets], dtype=torch.long)
    padded = padded.to(device)
    mask = torch.arange(width, device=device) < lengths[:, None]
    audio = SharedAudio.project(core.model.decoder, encoded.states, encoded.utterances)
    hidden = decode(core.model.decoder, torch.cat([encoded.prompts, padded[:, :-1]], dim=1), audio)
    hidden = hidden[:, encoded.prompts.shape[1] - 1 :][:, :width]
    head = functools.partial(head_logits, core.proj_out)
    each = each_token(options, list(map(len, targets)))
    return hidden_log_probs(hidden[mask], head, padded[mask], each, vocab_size=core.config.vocab_size)


def search(
    core: Any,
    states: torch.Tensor,
    prompt: torch.Tensor,
    beam_size: int,
    max_new_tokens: int,
    guard: LoopGuard,
) -> list[list[int]]:
    """Greedy or beam search over encoded audio, by mean log-probability per token, as Whisper does.

    Lists of hypotheses are searched for by :func:`asr_headroom.models.stepwise.beam_tokens`.

    Args:
        core: a ``WhisperForConditionalGeneration``.
        states: [rows, frames, hidden] encoder output.
        prompt: [rows, tokens] decoder input before the first target.
        beam_size: 1 is greedy.
        max_new_tokens: after the prompt, the end token counted.
        guard: stops greedy rows that loop.

    Returns:
        [rows] token ids after the prompt, the end token last where there was one.
    """
    stored = core.generation_config
    end = stored.eos_token_id[0] if isinstance(stored.eos_token_id, list) else stored.eos_token_id
    generation = GenerationConfig(
        max_length=min(prompt.shape[1] + max_new_tokens, core.config.max_target_positions),
        num_beams=beam_size,
        length_penalty=1.0,
        do_sample=False,
        suppress_tokens=stored.suppress_tokens or None,
        begin_suppress_tokens=stored.begin_suppress_tokens or None,
        decoder_start_token_id=stored.decoder_start_token_id,
        eos_token_id=end,
        pad_token_id=end,
    )
    # Whisper's own generate() re-encodes, and re-enters its long-form loop; the generic one does neither.
    sequences = GenerationMixin.generate(
        core,
        encoder_outputs=BaseModelOutput(last_hidden_state=states),
        attention_mask=torch.ones(states.shape[:2], dtype=torch.long, device=states.device),
        decoder_input_ids=prompt,
        generation_config=generation,
        stopping_criteria=loop_stopping(guard, prompt.shape[1], beam_size),
    )
    return cut_at_end(sequences[:, prompt.shape[1] :].tolist(), end)
