"""Marks of a model that a transcript must not spell: a tokenizer reads them as orders, not as text.

``<|endoftext|>`` in the middle of a target teaches a model to stop there, ``<|en|>`` to name a language, and nothing
else shows it. Tokenizers of CTC heads are not concerned: what is no letter is left out of their targets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["Markup"]

_LOOKS = re.compile(r"<.+>|\[.+\]")


class Markup:
    """Finds them.

    Args:
        tokenizer: of the model. One that reads no text as a mark (mistral-common's) has none.
    """

    def __init__(self, tokenizer: Any) -> None:
        added = getattr(tokenizer, "added_tokens_decoder", None)
        # Words that somebody added to a vocabulary are words; timestamps are marks that are not declared special.
        tokens = added.values() if isinstance(added, Mapping) else ()
        marks = {token.content for token in tokens if token.special or _LOOKS.fullmatch(token.content)}
        self._pattern = re.compile("|".join(map(re.escape, sorted(marks, key=len, reverse=True)))) if marks else None

    def problem(self, text: str) -> str | None:
        """Why a transcript cannot be a target, or None."""
        found = self._pattern.search(text) if self._pattern else None
        return f"spells '{found.group()}', a mark of the model and no text; rewrite it" if found else None
