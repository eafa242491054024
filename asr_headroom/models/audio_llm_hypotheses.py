"""Hypotheses of audio that is encoded once, behind a prompt that is read once: going on from it, and scoring.

While drawing and searching, the keys and values of prompt and audio stand in a cache (:class:`PromptContinuation`).
While scoring, all hypotheses of an utterance are laid behind one prompt in one row, each blind to the others
(:func:`score_rows`): one forward pass, with gradients and activation checkpointing, which a cache would not survive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import DynamicCache

from asr_headroom.models.decoding import SamplingOptions
from asr_headroom.models.sampling import each_token, hidden_log_probs, joined_rows

if TYPE_CHECKING:
    from asr_headroom.models.audio_llm import AudioLanguageModel

__all__ = ["AudioLlmEncoded", "PromptContinuation", "score_rows"]


@dataclass(frozen=True)
class AudioLlmEncoded:
    """Audio encoded once, and the rows that hypotheses are drawn or scored for.

    Attributes:
        audio: [utterances] embeddings of each recording, [audio tokens, hidden].
        prompts: [utterances] token ids of each prompt, with a placeholder for each audio embedding.
        utterances: [rows] index of each row's audio and prompt.
    """

    audio: tuple[torch.Tensor, ...]
    prompts: tuple[tuple[int, ...], ...]
    utterances: tuple[int, ...]

    def select(self, indices: Sequence[int]) -> AudioLlmEncoded:
        """These rows, in this order; a row may be taken several times, its audio stays one."""
        return AudioLlmEncoded(self.audio, self.prompts, tuple(self.utterances[index] for index in indices))

    def joined(self, others: Sequence[AudioLlmEncoded]) -> AudioLlmEncoded:
        """These rows, then those of the others."""
        parts = [self, *others]
        audio, prompts = (tuple(one for p in parts for one in getattr(p, name)) for name in ("audio", "prompts"))
        return AudioLlmEncoded(audio, prompts, joined_rows([(p.utterances, len(p.audio)) for p in parts]))

    def __len__(self) -> int:
        return len(self.utterances)


class PromptContinuation:
    """Sequences in progress: prompts with audio are read once per utterance, then each row goes on ``copies`` times.

    Args:
        model: the family.
        encoded: audio and prompts.
        copies: sequences per row.
    """

    def __init__(self, model: AudioLanguageModel, encoded: AudioLlmEncoded, copies: int) -> None:
        self._model = model
        used = sorted(set(encoded.utterances))
        prompts = [encoded.prompts[i] for i in used]
        device = encoded.audio[used[0]].device
        ids, lengths = _pad_right(prompts, model.end_id, device)
        embeddings = model.embed(ids, lengths, [encoded.audio[i] for i in used])
        self._cache = DynamicCache(config=model.core.config.get_text_config())
        hidden = model.language_model(
            inputs_embeds=embeddings, past_key_values=self._cache, use_cache=True
        ).last_hidden_state
        last = model.logits(hidden[torch.arange(len(used), device=device), lengths - 1])
        rows = torch.tensor([used.index(i) for i in encoded.utterances], device=device).repeat_interleave(copies)
        self.first_logits = last[rows]
        """[rows x copies, vocab] of the first token; the copies of a row are neighbours."""
        self._positions = lengths[rows]
        self._mask = torch.arange(ids.shape[1], device=device) < lengths[rows, None]
        self._cache.batch_select_indices(rows)

    def step(self, ids: torch.Tensor) -> torch.Tensor:
        """Logits [rows, vocab] after ``ids`` [rows]."""
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(ids), 1)], dim=1)
        hidden = self._model.language_model(
            inputs_embeds=self._model.core.get_input_embeddings()(ids[:, None]),
            attention_mask=self._mask,
            position_ids=self._positions[:, None],
            past_key_values=self._cache,
            use_cache=True,
        ).last_hidden_state
        self._positions = self._positions + 1
        return self._model.logits(hidden[:, -1])

    def keep(self, rows: torch.Tensor) -> None:
        """Only these rows go on."""
        self._cache.batch_select_indices(rows)
        self._mask, self._positions = self._mask[rows], self._positions[rows]


def score_rows(
    model: AudioLanguageModel,
    encoded: AudioLlmEncoded,
    targets: Sequence[Sequence[int]],
    options: SamplingOptions | Sequence[SamplingOptions],
) -> torch.Tensor:
    """[tokens] log-probabilities of ragged targets, row after row, all in one pass.

    The targets of an utterance lie behind one prompt. Each sees the prompt and itself, and counts positions from the
    prompt's end, so that it is scored as if it stood there alone.

    Args:
        model: the family.
        encoded: audio and prompts; one row per target.
        targets: [rows] token ids, the end token included where it counts.
        options: the distribution; of all rows, or of each.
    """
    used = sorted(set(encoded.utterances))
    device = encoded.audio[used[0]].device
    sequences, owners, positions = [], [], []
    start: dict[int, int] = {}  # of each row's own tokens in its utterance's sequence
    for utterance in used:
        prompt = list(encoded.prompts[utterance])
        ids, owner, position = prompt, [-1] * len(prompt), list(range(len(prompt)))
        for row in (row for row, index in enumerate(encoded.utterances) if index == utterance):
            fed = list(targets[row][:-1])
            start[row] = len(ids)
            position = [*position, *range(len(prompt), len(prompt) + len(fed))]
            ids, owner = [*ids, *fed], [*owner, *[row] * len(fed)]
        sequences.append(ids)
        owners.append(owner)
        positions.append(position)
    ids_tensor, _ = _pad_right(sequences, model.end_id, device)
    prompt_lengths = torch.tensor([len(encoded.prompts[i]) for i in used], device=device)
    embeddings = model.embed(ids_tensor, prompt_lengths, [encoded.audio[i] for i in used])
    alone = len(used) == len(encoded)
    layout: dict[str, Any] = {}
    if not alone:
        layout["attention_mask"] = _blind_to_others(_pad_right(owners, -2, device)[0], embeddings.dtype)
        layout["position_ids"] = _pad_right(positions, 0, device)[0]
    hidden = model.language_model(inputs_embeds=embeddings, use_cache=False, **layout).last_hidden_state
    sequence_of = {utterance: number for number, utterance in enumerate(used)}
    at_sequence, at_position = [], []
    for row, target in enumerate(targets):
        utterance = encoded.utterances[row]
        # The first token is predicted where the prompt ends, the others where the row's own tokens stand.
        places = [len(encoded.prompts[utterance]) - 1, *range(start[row], start[row] + len(target) - 1)][: len(target)]
        at_sequence += [sequence_of[utterance]] * len(places)
        at_position += places
    scored = torch.tensor([token for target in targets for token in target], dtype=torch.long, device=device)
    at = torch.tensor(at_sequence, dtype=torch.long, device=device), torch.tensor(at_position, dtype=torch.long)
    each = each_token(options, list(map(len, targets)))
    return hidden_log_probs(hidden[at[0], at[1].to(device)], model.logits, scored, each, vocab_size=model.vocab_size)


def _pad_right(rows: Sequence[Sequence[int]], value: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """[rows, columns] int64 and [rows] lengths."""
    width = max(map(len, rows))
    padded = torch.tensor([[*row, *[value] * (width - len(row))] for row in rows], dtype=torch.long, device=device)
    return padded, torch.tensor([len(row) for row in rows], device=device)


def _blind_to_others(owners: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Additive mask [rows, 1, tokens, tokens]: each token sees the prompt (-1) and its own owner's, up to itself."""
    count = owners.shape[1]
    causal = torch.ones(count, count, dtype=torch.bool, device=owners.device).tril()
    seen = causal & ((owners[:, None, :] == -1) | (owners[:, None, :] == owners[:, :, None]))
    return torch.zeros(seen.shape, dtype=dtype, device=owners.device).masked_fill(~seen, torch.finfo(dtype).min)[
        :, None
    ]
