"""What is known of a model before it is loaded: its name in tables, its weights' fingerprint, what training wrote."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from asr_headroom.errors import ModelError

__all__ = ["default_name", "hash_weights", "read_model_facts"]


def default_name(model_id: str) -> str:
    """How a model is called in tables.

    >>> default_name("openai/whisper-small"), default_name("runs/small-lora/model")
    ('whisper-small', 'small-lora')
    """
    parts = [part for part in re.split(r"[/\\]", model_id) if part not in ("", ".", "..")]
    return parts[-2] if len(parts) > 1 and parts[-1] == "model" else parts[-1]


def read_model_facts(model_id: str) -> dict[str, Any]:
    """What ``train`` wrote beside a model's weights; empty for a model from elsewhere.

    Raises:
        ModelError: the file is damaged.
    """
    path = Path(model_id) / "headroom.json"
    if not path.is_file():
        return {}
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path}: cannot be read ({error}); delete it to bench the model without its history"
        ) from error
    if not isinstance(facts, dict):
        raise ModelError(f"{path}: holds a {type(facts).__name__}; delete it to bench the model without its history")
    return facts


def hash_weights(model_id: str) -> str | None:
    """Sixteen hexadecimal digits over a local folder's weights, so that a model trained anew is another model."""
    files = sorted(path for path in Path(model_id).glob("*") if path.suffix in (".safetensors", ".bin"))
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16] if files else None
