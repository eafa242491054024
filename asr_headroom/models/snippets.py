"""The lines of Python that open a trained folder without this package: transformers', and PEFT's for an adapter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from asr_headroom.errors import ModelError
from asr_headroom.models.checkpoints import read_adapter_base
from asr_headroom.models.network_kinds import NETWORK_KINDS
from asr_headroom.models.vocabulary import read_vocabulary

__all__ = ["loading_snippet"]

_TOKENIZER_ONLY = ("fun_asr_nano", "granite_speech", "granite_speech_plus", "granite_speech5_ctc")
"""transformers' processors of these want torchaudio; the tokenizer alone does not."""


def loading_snippet(directory: str | Path) -> str:
    """Python that loads a model which ``train`` delivered, or any folder of a known family.

    Args:
        directory: with ``config.json``, or an adapter whose base is at hand.

    Raises:
        ModelError: the folder holds neither, its config is damaged, or is of a type that no family here reads.
    """
    folder = str(directory)
    base = read_adapter_base(folder)
    config = _config(base or folder)
    fresh = read_vocabulary(folder) if base else None
    model_type = str(config.get("model_type"))
    if fresh is not None and fresh != read_vocabulary(str(base)) and model_type == "whisper":
        model_type = "whisper_ctc"
    if model_type not in NETWORK_KINDS:
        raise ModelError(f"'{folder}' is of type {model_type!r}, which no family here reads")
    module, _, name = NETWORK_KINDS[model_type].model_class.rpartition(".")
    reader = "AutoTokenizer" if model_type in _TOKENIZER_ONLY else "AutoProcessor"
    imports = [f"from {module} import {name}", f"from transformers import {reader}"]
    arguments = [repr(base or folder)]
    lines = []
    if base and fresh is not None and fresh != read_vocabulary(base):
        # The adapter brings the head; the base only has to have room for it.
        arguments += [f"vocab_size={len(fresh[0].tokens)}", "pad_token_id=0", "ignore_mismatched_sizes=True"]
    lines.append(f"model = {name}.from_pretrained({', '.join(arguments)})")
    if base:
        imports.insert(0, "from peft import PeftModel")
        if model_type == "granite_speech5_ctc":
            lines.append("model.config.tie_word_embeddings = False  # PEFT refuses the head's name otherwise")
        lines.append(f"model = PeftModel.from_pretrained(model, {folder!r})")
    lines.append(f"{reader.removeprefix('Auto').lower()} = {reader}.from_pretrained({folder!r})")
    return "\n".join([*imports, "", *lines])


def _config(source: str) -> dict[str, Any]:
    path = Path(source) / "config.json"
    if path.is_file():
        try:
            return dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise ModelError(
                f"{path}: cannot be read ({error}); copy it again from where the model was saved"
            ) from error
    from transformers import PretrainedConfig

    from asr_headroom.models.checkpoints import load_pretrained

    config, _ = load_pretrained(PretrainedConfig.get_config_dict, source)
    return dict(config)
