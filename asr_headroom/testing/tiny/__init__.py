"""Tiny models with random weights, built offline: the real classes, a few thousand parameters, one file per family.

``tiny_whisper`` is in ``whisper.py``, ``tiny_<family>`` in ``<family>.py``; each is imported when it is asked for, so
that one family's packages hurt no other.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asr_headroom.testing.tiny.whisper import tiny_whisper

__all__ = ["tiny_whisper"]


def __getattr__(name: str) -> Any:
    family = name.removeprefix("tiny_")
    if family != name and importlib.util.find_spec(f"{__name__}.{family}"):
        return getattr(importlib.import_module(f"{__name__}.{family}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
