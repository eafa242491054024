"""Transcripts as tokens of a CTC head and back, whatever tokenizer the checkpoint brings.

A checkpoint's alphabet is what it is: ``facebook/wav2vec2-base-960h`` knows capitals only and no comma. A transcript is
brought into it: into the only case that it has, and without marks that it lacks. A letter that it lacks cannot be left
out in silence; it becomes the unknown token, and training refuses the utterance.
"""

from __future__ import annotations

import json
import tempfile
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from transformers import Wav2Vec2CTCTokenizer

from asr_headroom.errors import ModelError
from asr_headroom.models.vocabulary import BLANK, SPACE, UNKNOWN, Vocabulary, is_letter
from asr_headroom.text.normalize import get_normalizer

__all__ = ["CtcText", "make_tokenizer"]


class CtcText:
    """Encodes and decodes.

    Args:
        tokenizer: of the checkpoint.
        vocab_size: of the head.
        blank_id: of the blank.
        vocabulary: of a head that was begun afresh; its normaliser comes first.
        model_id: for errors.

    Raises:
        ModelError: the tokenizer does not belong to the head.
    """

    def __init__(
        self, tokenizer: Any, vocab_size: int, blank_id: int, vocabulary: Vocabulary | None, *, model_id: str
    ) -> None:
        self._tokenizer = tokenizer
        self._blank_id = blank_id
        self._normalize: Callable[[str], str] = get_normalizer(vocabulary.normalizer) if vocabulary else str
        tokens = tokenizer.get_vocab()
        beyond = [token for token, id_ in tokens.items() if id_ >= vocab_size and len(token) == 1]
        if beyond or tokenizer.pad_token_id != blank_id:
            raise ModelError(
                f"{model_id}: the head has {vocab_size} outputs and blank {blank_id}, the tokenizer {len(tokens)} "
                f"tokens and blank {tokenizer.pad_token_id}; processor and weights do not belong together"
            )
        letters = "".join(token for token in tokens if token not in tokenizer.all_special_tokens)
        self._case = _only_case(letters)

    def encode(self, text: str) -> list[int]:
        """Supervised tokens of a transcript; blanks are never among them."""
        text = self._written(text)
        ids = self._ids(text)
        if self.decode(ids) != text:
            spelled = "".join(c if is_letter(c) or self._is_known(c) else " " for c in text)
            ids = self._ids(" ".join(spelled.split()))
        return ids

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of collapsed tokens, special ones left out."""
        # Repeated tokens are repeated letters: what had to be collapsed is.
        text = self._tokenizer.decode(
            list(token_ids), skip_special_tokens=True, group_tokens=False, clean_up_tokenization_spaces=False
        )
        return text.strip()

    def unwritable(self, text: str) -> list[str]:
        """Letters and digits of a transcript that have no token, sorted."""
        text = self._written(text)
        if self.decode(self._ids(text)) == text:
            return []
        return sorted({c for c in text if is_letter(c) and not self._is_known(c)})

    def _written(self, text: str) -> str:
        text = " ".join(self._normalize(text).split())
        return self._case(text) if self._case else text

    def _ids(self, text: str) -> list[int]:
        ids = self._tokenizer(text, add_special_tokens=False).input_ids if text else []
        return [id_ for id_ in ids if id_ != self._blank_id]

    def _is_known(self, character: str) -> bool:
        """It comes back; what stands for an unknown one in some vocabularies has no token of its own."""
        return character == " " or _plain(self.decode(self._ids(character))) == _plain(character)


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def make_tokenizer(vocabulary: Vocabulary) -> Wav2Vec2CTCTokenizer:
    """The tokenizer of a fresh head: one token per character."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocab.json"
        path.write_text(json.dumps(vocabulary.tokens, ensure_ascii=False), encoding="utf-8")
        # Sentence marks would get ids beyond the head.
        return Wav2Vec2CTCTokenizer(
            str(path),
            bos_token=None,
            eos_token=None,
            unk_token=UNKNOWN,
            pad_token=BLANK,
            word_delimiter_token=SPACE,
        )


def _only_case(letters: str) -> Callable[[str], str] | None:
    cased = [c for c in letters if c.lower() != c.upper()]
    if cased and all(c == c.upper() for c in cased):
        return str.upper
    if cased and all(c == c.lower() for c in cased):
        return str.lower
    return None
