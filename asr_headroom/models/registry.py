"""Family name to loader, imported only when asked for; :func:`load_model` finds the family from the checkpoint.

Other packages add families by the entry point group ``asr_headroom.families`` (name to ``module:load``), and the
``model_type`` of their configs by ``asr_headroom.model_types`` (model type to family name).
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from asr_headroom.errors import MissingDependencyError, ModelError, did_you_mean
from asr_headroom.models.protocols import Recognizer
from asr_headroom.models.vocabulary import read_vocabulary

__all__ = ["family_names", "load_model"]


class _Family(NamedTuple):
    """Where a family is and what it reads.

    Attributes:
        load: ``module:function``; the function takes a hub id or folder, and ``dtype``, ``device``, ``random_init`` and
            ``seed`` by name, beside options of its own.
        model_types: of the configs that it reads.
        extra: of this package that installs what it needs.
        fresh_head: the function also takes ``vocabulary``, of a CTC head to put on the encoder of such a checkpoint.
    """

    load: str
    model_types: tuple[str, ...]
    extra: str = "train"
    fresh_head: bool = False


# The first family that names a model type is the one a checkpoint of that type is loaded as.
_FAMILIES = {
    "canary": _Family("asr_headroom.models.canary:load", ("canary",)),
    "cohere-asr": _Family("asr_headroom.models.cohere_asr:load", ("cohere_asr",)),
    "fun-asr-nano": _Family("asr_headroom.models.fun_asr_nano:load", ("fun_asr_nano",)),
    "glm-asr": _Family("asr_headroom.models.glm_asr:load", ("glmasr",)),
    "granite-speech": _Family("asr_headroom.models.granite_speech:load", ("granite_speech", "granite_speech_plus")),
    "granite-speech5": _Family("asr_headroom.models.mel_ctc:load", ("granite_speech5_ctc",)),
    "lasr": _Family("asr_headroom.models.mel_ctc:load", ("lasr_ctc",), fresh_head=True),
    "moonshine": _Family("asr_headroom.models.moonshine:load", ("moonshine",)),
    "parakeet-ctc": _Family("asr_headroom.models.mel_ctc:load", ("parakeet_ctc",), fresh_head=True),
    "parakeet-rnnt": _Family("asr_headroom.models.parakeet_transducer:load", ("parakeet_rnnt",)),
    "parakeet-tdt": _Family("asr_headroom.models.parakeet_transducer:load", ("parakeet_tdt",)),
    "qwen3-asr": _Family("asr_headroom.models.qwen3_asr:load", ("qwen3_asr",)),
    "voxtral": _Family("asr_headroom.models.voxtral:load", ("voxtral",), extra="voxtral"),
    "wav2vec2-ctc": _Family(
        "asr_headroom.models.wav2vec2_ctc:load",
        ("wav2vec2", "hubert", "wav2vec2-bert", "data2vec-audio"),
        fresh_head=True,
    ),
    "whisper": _Family("asr_headroom.models.whisper:load", ("whisper",)),
    "whisper-ctc": _Family("asr_headroom.models.whisper_ctc:load", ("whisper_ctc", "whisper"), fresh_head=True),
}

_ONLY_WITH_WINDOWS = "window"
"""An option of families that pad to a window; the others hear any length as it is, so it is not passed to them."""
_UNASKED = {"quantization": "none"}
"""Values that ask for nothing: a family without the option takes them too."""


def family_names() -> list[str]:
    """All families that can be loaded, sorted."""
    return sorted(_families())


def load_model(model_id: str, *, family: str | None = None, **options: Any) -> Recognizer:
    """A recogniser from a hub id or a local folder.

    Args:
        model_id: hub id, folder, or folder of a PEFT adapter.
        family: overrides what the checkpoint's config says, where both read its type.
        options: passed to the family's loader (for example ``window``, ``dtype``).

    Raises:
        ModelError: unknown family or option, or the checkpoint cannot be loaded or is of another family.
        MissingDependencyError: a package that the family needs is not installed.
    """
    families = _families()
    if family is not None and family not in families:
        raise ModelError(
            f"unknown model family '{family}'{did_you_mean(family, families)} (`asr-headroom models list` shows all: "
            f"{', '.join(sorted(families))})"
        )
    if options.get("vocabulary"):
        families = {name: entry for name, entry in families.items() if entry.fresh_head}
    name = _family_of(model_id, family, families)
    module_name, _, function = families[name].load.partition(":")
    try:
        load = getattr(importlib.import_module(module_name), function)
        return load(model_id, **_accepted(load, name, options))
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("asr_headroom"):
            raise
        raise MissingDependencyError(error.name or module_name, families[name].extra) from error


def _families() -> dict[str, _Family]:
    types: dict[str, tuple[str, ...]] = {}
    for entry in importlib.metadata.entry_points(group="asr_headroom.model_types"):
        types[entry.value] = (*types.get(entry.value, ()), entry.name)
    external = importlib.metadata.entry_points(group="asr_headroom.families")
    return _FAMILIES | {entry.name: _Family(entry.value, types.get(entry.name, ())) for entry in external}


def _family_of(model_id: str, told: str | None, families: Mapping[str, _Family]) -> str:
    """The family that reads this checkpoint: the one told, if it can, or the first that can.

    Raises:
        ModelError: no such family, or the one told reads other types.
    """
    if told is not None and not families[told].model_types:
        return told  # another package's, which says nothing of the types it reads
    config = _read_config(model_id)
    model_type = config.get("model_type")
    readers = [name for name, family in families.items() if model_type in family.model_types]
    # A family whose checkpoints share another's model type writes its own name beside it.
    own = config.get("asr_headroom_family")
    if told is None and own in readers:
        return str(own)
    if told in readers or (told is None and readers):
        return told or readers[0]
    if told is not None:
        raise ModelError(
            f"'{model_id}' is of type {model_type!r}, which family '{told}' does not read "
            f"(it reads: {', '.join(families[told].model_types)}"
            f"{'; family ' + repr(readers[0]) + ' reads it' if readers else ''})"
        )
    if model_type is None:
        delivered = Path(model_id) / "model"
        instead = "a hub id, or a folder written by save_pretrained or train"
        if delivered.is_dir():
            instead = f"'{delivered}', which a training left there"
        raise ModelError(f"'{model_id}' holds no config.json that names a type of model; give {instead}")
    raise ModelError(
        f"'{model_id}' is of type {model_type!r}, which no family here reads; `asr-headroom models list` shows what "
        f"runs here ({', '.join(sorted(families))}) and what does not"
    )


def _read_config(model_id: str) -> dict[str, Any]:
    try:
        from transformers import PretrainedConfig

        from asr_headroom.models.checkpoints import load_pretrained, read_adapter_base
    except ModuleNotFoundError as error:
        raise MissingDependencyError(error.name or "transformers", "train") from error
    config, _ = load_pretrained(PretrainedConfig.get_config_dict, read_adapter_base(model_id) or model_id)
    if not isinstance(config, dict):
        return {}
    # A fresh head makes another family of an adapter's base.
    stored = read_vocabulary(model_id)
    return config | ({"asr_headroom_family": stored[1]} if stored else {})


def _accepted(load: Any, family: str, options: Mapping[str, Any]) -> dict[str, Any]:
    known = inspect.signature(load).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
        return dict(options)
    options = {name: value for name, value in options.items() if name in known or _UNASKED.get(name) != value}
    strangers = [name for name in options if name not in known and name != _ONLY_WITH_WINDOWS]
    if strangers:
        raise ModelError(
            f"family '{family}' has no option '{strangers[0]}'{did_you_mean(strangers[0], known)} "
            f"(it has: {', '.join(name for name in known if name != 'model_id')})"
        )
    return {name: value for name, value in options.items() if name in known}
