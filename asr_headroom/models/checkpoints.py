"""Loading of pretrained folders and adapters, strictly: nothing missing, nothing left over, nothing random.

``from_pretrained`` fills missing tensors with random numbers and only logs it; here that is an error.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from asr_headroom.errors import ModelError

__all__ = ["base_module", "load_adapter", "load_pretrained", "read_adapter_base"]

_ADAPTER_FILE = "adapter_config.json"
_REPORTED = ("missing_keys", "unexpected_keys", "mismatched_keys")


def base_module(module: nn.Module) -> Any:
    """The model itself: what is inside a PEFT model, or the module as it is."""
    return module.get_base_model() if hasattr(module, "get_base_model") else module  # type: ignore[operator]


def load_pretrained(
    from_pretrained: Callable[..., Any],
    source: str,
    *,
    weights: bool = False,
    replaced: str | None = None,
    **options: Any,
) -> Any:
    """Calls a ``from_pretrained`` and turns its failures into errors that say what to do.

    Args:
        from_pretrained: the class method.
        source: hub id or folder.
        weights: it loads weights; refuse missing, unexpected and mismatched tensors.
        replaced: pattern of tensors that may be, because the caller draws them anew or has no use for them.
        options: passed on.

    Raises:
        ModelError: not found, damaged, or its tensors are not those of the architecture.
    """
    if (source.startswith((".", "/", "~")) or source.count("/") > 1) and not Path(source).is_dir():
        raise ModelError(
            f"cannot load '{source}': no such folder; give a hub id, or a folder written by save_pretrained"
        )
    try:
        if not weights:
            return from_pretrained(source, **options)
        module, report = from_pretrained(source, output_loading_info=True, **options)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ModelError(
            f"cannot load '{source}': {reason[:300]} ({type(error).__name__}); "
            "give a hub id, or a folder written by save_pretrained"
        ) from error
    wrong = {name: sorted(map(str, report.get(name) or ())) for name in _REPORTED}
    if replaced:
        wrong = {name: [key for key in keys if not re.search(replaced, key)] for name, keys in wrong.items()}
    if any(wrong.values()):
        listing = "; ".join(
            f"{len(keys)} {kind.removesuffix('_keys')} ({', '.join(keys[:3])}{' …' if len(keys) > 3 else ''})"
            for kind, keys in wrong.items()
            if keys
        )
        raise ModelError(
            f"the weights in '{source}' are not those of its config: {listing}; "
            "the file is incomplete or of another model"
        )
    return module


def read_adapter_base(model_id: str) -> str | None:
    """The base model that a local PEFT adapter folder names, or None if it is no adapter folder.

    Raises:
        ModelError: the adapter's config cannot be read or names no base.
    """
    path = Path(model_id) / _ADAPTER_FILE
    # Beside a model's own config an adapter is a part of that model, and its family's affair.
    if not path.is_file() or (Path(model_id) / "config.json").is_file():
        return None
    try:
        base = json.loads(path.read_text(encoding="utf-8")).get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"{path}: cannot be read ({error})") from error
    if not base:
        raise ModelError(f"{path}: names no base_model_name_or_path; write the base model's id or folder there")
    if (Path(base).is_absolute() or base.count("/") > 1) and not Path(base).is_dir():
        raise ModelError(f"{path}: the base model '{base}' is not there; put it back, or write there where it is now")
    return base


def load_adapter(module: nn.Module, folder: str) -> nn.Module:
    """A PEFT model around ``module`` with the adapter in ``folder``.

    Raises:
        ModelError: the adapter is damaged, does not fit, or would change nothing.
    """
    from peft import PeftModel

    try:
        with warnings.catch_warnings():
            # What is missing or finds no place is an error below; here PEFT would only mention it.
            warnings.filterwarnings("ignore", "Found missing adapter keys")
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
            model = PeftModel.from_pretrained(module, folder, is_trainable=False)
        from safetensors import safe_open

        with safe_open(str(Path(folder) / "adapter_model.safetensors"), framework="pt") as file:
            stored = set(file.keys())
    except Exception as error:
        raise ModelError(f"cannot load the adapter in '{folder}': {' '.join(str(error).split())[:300]}") from error
    placed = {
        name.replace(".modules_to_save.", ".").replace(".default.", ".").replace(".default", "")
        for name, _ in model.named_parameters()
        if "lora_" in name or "modules_to_save" in name
    }
    strangers = {name for name in stored if "lora_" in name} - placed
    absent = placed - stored
    if strangers or not stored:
        raise ModelError(
            f"the adapter in '{folder}' does not fit this base: {len(strangers)} of {len(stored)} tensors find no "
            f"place ({', '.join(sorted(strangers)[:3])}); load it on the model it was trained on"
        )
    if absent:
        raise ModelError(
            f"the adapter in '{folder}' lacks {len(absent)} of the tensors that its config names "
            f"({', '.join(sorted(absent)[:3])}); the file is incomplete, so copy it again from where it was trained"
        )
    return model
