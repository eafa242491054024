"""The written form a model is trained to produce. Explicit, because a model learns whatever the transcripts hold.

This is not scoring: scores are taken under a normaliser. It is for corpora whose transcripts are written in a way
nobody wants back, for example all upper case without punctuation.
"""

from __future__ import annotations

import re
from typing import Literal

__all__ = ["TargetForm", "write_target"]

TargetForm = Literal["as-is", "lower", "sentence"]


def write_target(text: str, form: TargetForm) -> str:
    """A transcript in the form wanted.

    ``as-is`` changes nothing; ``lower`` writes lower case; ``sentence`` writes lower case with a capital first letter,
    an English "I", and a full stop where the text ends in none.

    >>> write_target("WHAT CAN I DO", "sentence")
    'What can I do.'
    """
    if form == "as-is":
        return text
    text = text.strip().lower()
    if form == "lower" or not text:
        return text
    text = re.sub(r"\bi\b", "I", text)
    text = text[0].upper() + text[1:]
    return text if text[-1] in ".!?…" else text + "."
