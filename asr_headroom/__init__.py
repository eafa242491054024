"""asr-headroom: will fine-tuning a speech-recognition model pay, and what did it buy?

Start with ``asr_headroom.cli.main`` to see the verbs, with ``docs/architecture.md`` to see the rooms.
Importing this package loads neither torch nor transformers; public names are resolved when first used.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "ErrorCounts": "asr_headroom.metrics.error_rate",
    "Normalizer": "asr_headroom.text.normalize",
    "Results": "asr_headroom.results.store",
    "Utterance": "asr_headroom.data.manifest",
    "compare_systems": "asr_headroom.metrics.significance",
    "count_errors": "asr_headroom.metrics.error_rate",
    "get_normalizer": "asr_headroom.text.normalize",
    "load_model": "asr_headroom.models.registry",
    "load_results": "asr_headroom.results.store",
    "read_manifest": "asr_headroom.data.readers",
}

__all__ = sorted([*_HOME, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'asr_headroom' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
