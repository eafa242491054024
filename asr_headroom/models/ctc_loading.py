"""Loading of checkpoints with a CTC head, with their own or with a fresh one over a new vocabulary.

An adapter of a model whose head was fresh names a base without that head; the vocabulary beside the adapter says how to
draw it, and the adapter brings its weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import PretrainedConfig

from asr_headroom.errors import ModelError
from asr_headroom.models.checkpoints import load_adapter, load_pretrained, read_adapter_base
from asr_headroom.models.ctc_text import make_tokenizer
from asr_headroom.models.vocabulary import Vocabulary, read_vocabulary

__all__ = ["CtcClasses", "Loaded", "load_ctc"]


@dataclass(frozen=True, kw_only=True)
class CtcClasses:
    """What of transformers reads one kind of checkpoint.

    Attributes:
        model: the class with the head.
        processor: feature settings and tokenizer together.
        features: feature settings alone, for checkpoints that have no tokenizer.
        head: name of the head in the model.
        without_head: pattern of tensors that checkpoints without this head hold or lack; None where the head cannot be
            replaced.
        read: the processor of a source, where the class's own ``from_pretrained`` does not.
        prepare: what the loaded model needs before an adapter is put on it.
        pretrained: the model with pretrained weights and the head of a config, from a source of another class.
    """

    model: Any
    processor: Any
    features: Any
    head: str
    without_head: str | None
    read: Callable[[str], Any] | None = None
    prepare: Callable[[Any], None] | None = None
    pretrained: Callable[[str, Any, torch.dtype], nn.Module] | None = None


class Loaded(NamedTuple):
    """A checkpoint in parts; ``fresh_head`` says that its head is not the base's."""

    module: nn.Module
    processor: Any
    vocabulary: Vocabulary | None
    fresh_head: bool


def load_ctc(
    model_id: str,
    classes: CtcClasses,
    *,
    dtype: str,
    device: str,
    random_init: bool,
    seed: int,
    vocabulary: Vocabulary | None,
) -> Loaded:
    """Reads a hub id, a local folder, or a folder with a PEFT adapter.

    Args:
        model_id: hub id or path.
        classes: that read it.
        dtype: of the weights.
        device: where to put them; ``auto`` is the GPU where there is one.
        random_init: keep architecture and tokenizer, draw new weights.
        seed: of new weights.
        vocabulary: of a fresh head; None keeps the checkpoint's.

    Raises:
        ModelError: not found, weights are missing, unexpected or damaged, or the head cannot be replaced.
    """
    base_id = read_adapter_base(model_id)
    source = base_id or model_id
    if base_id and vocabulary:
        raise ModelError(
            f"'{model_id}' is an adapter, and a fresh head would throw away what it learnt; merge it first, or start "
            f"from its base '{base_id}'"
        )
    stored, of_base = read_vocabulary(model_id), read_vocabulary(source)
    fresh = vocabulary or (stored[0] if stored and stored != of_base else None)
    settings, _ = load_pretrained(PretrainedConfig.get_config_dict, source)
    # By hand, as a Whisper's config becomes that of its encoder with a head.
    config = classes.model.config_class.from_dict({k: v for k, v in settings.items() if k != "model_type"})
    if fresh:
        module, processor = _with_fresh_head(source, classes, config, fresh, dtype, random_init, seed)
    else:
        _refuse_headless(source, config)
        processor = load_pretrained(classes.read or classes.processor.from_pretrained, source)
        if random_init:
            torch.manual_seed(seed)
            module = classes.model(config).to(getattr(torch, dtype))
        else:
            module = load_pretrained(classes.model.from_pretrained, source, weights=True, dtype=getattr(torch, dtype))
    if Path(source).is_dir():
        # An adapter stores this name as its base; a relative path would break from another working directory.
        module.name_or_path = str(Path(source).resolve())
    else:
        module.name_or_path = source
    if classes.prepare:
        classes.prepare(module)
    if base_id:
        module = load_adapter(module, model_id)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    known = fresh or (of_base[0] if of_base else None)
    # Some classes keep a part in float32; what was asked for is what is given.
    return Loaded(module.to(device=device, dtype=getattr(torch, dtype)), processor, known, fresh is not None)


def _with_fresh_head(
    source: str,
    classes: CtcClasses,
    config: Any,
    vocabulary: Vocabulary,
    dtype: str,
    random_init: bool,
    seed: int,
) -> tuple[Any, Any]:
    if classes.without_head is None:
        raise ModelError(f"the head of '{source}' is part of its encoder and cannot be replaced by a fresh one")
    processor = classes.processor(load_pretrained(classes.features.from_pretrained, source), make_tokenizer(vocabulary))
    config.vocab_size, config.pad_token_id = len(vocabulary.tokens), 0
    config.bos_token_id = config.eos_token_id = None
    if getattr(config, "decoder_start_token_id", None) is not None:
        config.decoder_start_token_id = 0  # of no use, but checked against the vocabulary
    config.architectures = [classes.model.__name__]
    torch.manual_seed(seed)
    module: Any
    if random_init:
        module = classes.model(config).to(getattr(torch, dtype))
    elif classes.pretrained:
        module = classes.pretrained(source, config, getattr(torch, dtype))
    else:
        module = load_pretrained(
            classes.model.from_pretrained,
            source,
            weights=True,
            replaced=rf"{classes.head}|{classes.without_head}",
            config=config,
            ignore_mismatched_sizes=True,
            dtype=getattr(torch, dtype),
        )
    # Drawn last, and whatever the checkpoint held: a head of the same size by chance is still another alphabet's.
    torch.manual_seed(seed)
    getattr(module, classes.head).reset_parameters()
    return module, processor


def _refuse_headless(source: str, config: Any) -> None:
    names = list(getattr(config, "architectures", None) or [])
    if names and not any(name.endswith("ForCTC") for name in names):
        raise ModelError(
            f"'{source}' ({names[0]}) has no CTC head; `asr-headroom train --vocabulary from-data` gives it one and "
            "trains it"
        )
