"""Family name to loader, imported only when asked for; :func:`load_model` finds the family from the checkpoint.

Other packages add families by the entry point group ``asr_headroom.families``.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import Any

from asr_headroom.errors import MissingDependencyError, ModelError, did_you_mean
from asr_headroom.models.protocols import Recognizer

__all__ = ["family_names", "load_model"]

_FAMILIES = {"whisper": "asr_headroom.models.whisper:load"}
_FAMILY_OF_MODEL_TYPE = {"whisper": "whisper"}


def family_names() -> list[str]:
    """All families that can be loaded, sorted."""
    return sorted(_loaders())


def load_model(model_id: str, *, family: str | None = None, **options: Any) -> Recognizer:
    """A recogniser from a hub id or a local folder.

    Args:
        model_id: hub id, folder, or folder of a PEFT adapter.
        family: overrides what the checkpoint's config says.
        options: passed to the family's loader (for example ``window``, ``dtype``).

    Raises:
        ModelError: unknown family, or the checkpoint cannot be loaded.
    """
    loaders = _loaders()
    family = family or _detect_family(model_id)
    if family not in loaders:
        raise ModelError(
            f"unknown model family '{family}'{did_you_mean(family, loaders)} (there are: {', '.join(sorted(loaders))})"
        )
    module_name, _, function = loaders[family].partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise MissingDependencyError(error.name or module_name, "train") from error
    return getattr(module, function)(model_id, **options)


def _loaders() -> dict[str, str]:
    external = importlib.metadata.entry_points(group="asr_headroom.families")
    return _FAMILIES | {entry.name: entry.value for entry in external}


def _detect_family(model_id: str) -> str:
    try:
        from transformers import PretrainedConfig

        from asr_headroom.models.checkpoints import load_pretrained, read_adapter_base
    except ModuleNotFoundError as error:
        raise MissingDependencyError(error.name or "transformers", "train") from error
    source = read_adapter_base(model_id) or model_id
    config, _ = load_pretrained(PretrainedConfig.get_config_dict, source)
    model_type = config.get("model_type") if isinstance(config, dict) else None
    if model_type not in _FAMILY_OF_MODEL_TYPE:
        raise ModelError(
            f"'{model_id}' is of type {model_type!r}, which no family here reads "
            f"(there are: {', '.join(family_names())})"
        )
    return _FAMILY_OF_MODEL_TYPE[model_type]
