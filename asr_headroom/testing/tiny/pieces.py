"""Tiny tokenizers that spell with SentencePiece's pieces: letters, and a mark where a word begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from asr_headroom.testing.tiny.vocabulary import add_special

__all__ = ["piece_tokenizer"]

_LETTERS = "abcdefghijklmnopqrstuvwxyz'"


def piece_tokenizer(
    first: Sequence[str], last: Sequence[str] = (), *, tokenizer_class: Any = PreTrainedTokenizerFast, **roles: str
) -> Any:
    """A tokenizer of letters.

    Args:
        first: special tokens with the first ids, ``<unk>`` among them.
        last: special tokens with the last ids.
        tokenizer_class: of transformers.
        roles: of special tokens, such as ``eos_token="</s>"``.
    """
    pieces = [(token, 0.0) for token in first] + [("▁", -2.0)] + [(letter, -3.0) for letter in _LETTERS]
    backend = Tokenizer(models.Unigram(pieces, unk_id=list(first).index("<unk>")))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    backend.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer = tokenizer_class(tokenizer_object=backend, unk_token="<unk>", **roles)
    add_special(tokenizer, [*first, *last])
    return tokenizer
