"""Vocabularies of tiny tokenizers: bytes without merges, and special tokens on top."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tokenizers import AddedToken
from tokenizers.pre_tokenizers import ByteLevel

__all__ = ["add_special", "byte_vocabulary"]


def byte_vocabulary() -> dict[str, int]:
    """The 256 symbols of every byte-level tokenizer; with no merges they spell any text."""
    return {symbol: index for index, symbol in enumerate(sorted(ByteLevel.alphabet()))}


def add_special(tokenizer: Any, tokens: Sequence[str], *, special: bool = True) -> dict[str, int]:
    """Adds tokens that no text is split into, and returns their ids.

    Args:
        tokenizer: any of transformers'.
        tokens: in order of their ids.
        special: left out when decoding with ``skip_special_tokens``.
    """
    added = [AddedToken(token, special=special, normalized=False) for token in tokens]
    tokenizer.add_tokens(added, special_tokens=special)
    return {token: tokenizer.convert_tokens_to_ids(token) for token in tokens}
