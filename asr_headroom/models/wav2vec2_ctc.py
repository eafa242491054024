"""wav2vec 2.0, XLS-R, MMS, HuBERT, data2vec and wav2vec2-BERT with a CTC head, their own or a fresh one.

Facts and quirks, all kept in this file:

* wav2vec 2.0 and HuBERT hear the waveform, brought to zero mean and unit variance; wav2vec2-BERT hears mel features.
* The base models (group norm in the first convolution) were trained without a padding mask, and padding changes their
  output by far more than rounding. They declare it, and only recordings of one length share a batch. The large models
  and XLS-R (layer norm) take the mask and are exact.
* data2vec's padding leaks although it takes a mask, so there too only recordings of one length share a batch.
* SpecAugment and layer drop of the configs are switched off: the first works in place on features, the second leaves
  weights without gradient, which data parallelism refuses.
* MMS is loaded with the language whose adapter its checkpoint holds.
* The convolutional front end is trained with the rest in full fine-tuning.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import (
    Data2VecAudioForCTC,
    HubertForCTC,
    PretrainedConfig,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertForCTC,
    Wav2Vec2BertProcessor,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2Processor,
)

from asr_headroom.errors import ModelError
from asr_headroom.models.checkpoints import load_pretrained, read_adapter_base
from asr_headroom.models.ctc import CtcModel
from asr_headroom.models.ctc_loading import CtcClasses, load_ctc
from asr_headroom.models.vocabulary import Vocabulary

__all__ = ["Wav2Vec2Ctc", "load"]

_WITHOUT_HEAD = r"^(project_(q|hid)|quantizer|label_embs_concat|final_proj|.*masked_spec_embed)"
"""Left over from pre-training, and the mask vector of SpecAugment."""

_CLASSES = {
    **{
        kind: CtcClasses(
            model=model,
            processor=Wav2Vec2Processor,
            features=Wav2Vec2FeatureExtractor,
            head="lm_head",
            without_head=_WITHOUT_HEAD,
        )
        for kind, model in (
            ("wav2vec2", Wav2Vec2ForCTC),
            ("hubert", HubertForCTC),
            ("data2vec-audio", Data2VecAudioForCTC),
        )
    },
    "wav2vec2-bert": CtcClasses(
        model=Wav2Vec2BertForCTC,
        processor=Wav2Vec2BertProcessor,
        features=SeamlessM4TFeatureExtractor,
        head="lm_head",
        without_head=_WITHOUT_HEAD,
    ),
}
_LEAKING = ("data2vec-audio",)
"""Whose convolutions behind the first mask mix padding into the frames before it."""
_LORA_TARGETS = {
    "wav2vec2": r".*\.attention\.(q_proj|k_proj|v_proj|out_proj)",
    "hubert": r".*\.attention\.(q_proj|k_proj|v_proj|out_proj)",
    "data2vec-audio": r".*\.attention\.(q_proj|k_proj|v_proj|out_proj)",
    "wav2vec2-bert": r".*\.self_attn\.(linear_q|linear_k|linear_v|linear_out)",
}


def load(
    model_id: str,
    *,
    dtype: str = "float32",
    device: str = "cpu",
    random_init: bool = False,
    seed: int = 0,
    vocabulary: Vocabulary | None = None,
) -> Wav2Vec2Ctc:
    """A checkpoint with a CTC head, or any of these encoders with a fresh one.

    Args:
        model_id: hub id, folder, or folder of a PEFT adapter.
        dtype: of the weights; training wants float32.
        device: where to put them; ``auto`` is the GPU where there is one.
        random_init: keep architecture and tokenizer, draw new weights.
        seed: of new weights.
        vocabulary: of a fresh head; None keeps the checkpoint's.

    Raises:
        ModelError: not found, of another family, without a head, or weights are missing, unexpected or damaged.
    """
    config, _ = load_pretrained(PretrainedConfig.get_config_dict, read_adapter_base(model_id) or model_id)
    kind = config.get("model_type")
    if kind not in _CLASSES:
        raise ModelError(f"'{model_id}' is of type {kind!r}; this family reads {', '.join(_CLASSES)}")
    loaded = load_ctc(
        model_id,
        _CLASSES[kind],
        dtype=dtype,
        device=device,
        random_init=random_init,
        seed=seed,
        vocabulary=vocabulary,
    )
    return Wav2Vec2Ctc(
        loaded.module,
        loaded.processor,
        model_id=model_id,
        vocabulary=loaded.vocabulary,
        fresh_head=loaded.fresh_head,
    )


class Wav2Vec2Ctc(CtcModel):
    """One checkpoint; see the module's docstring.

    Args:
        module: the model, or a PEFT model around it.
        processor: feature settings and tokenizer.
        model_id: what it is called in results.
        vocabulary: of a head that was begun afresh.
        fresh_head: it is not in the checkpoint that an adapter would name as its base.
    """

    def __init__(
        self,
        module: nn.Module,
        processor: Any,
        *,
        model_id: str,
        vocabulary: Vocabulary | None = None,
        fresh_head: bool = False,
    ) -> None:
        config: Any = module.config
        # Nothing but wav2vec 2.0's group norm is without a mask.
        self._masked: bool = getattr(config, "feat_extract_norm", "layer") != "group"
        config.apply_spec_augment = False
        config.layerdrop = 0.0
        for name, parameter in module.named_parameters():
            if name.endswith("masked_spec_embed"):
                parameter.requires_grad_(False)
        super().__init__(
            module,
            processor,
            model_id=model_id,
            family="wav2vec2-ctc",
            head="lm_head",
            lora_targets=_LORA_TARGETS[config.model_type],
            vocabulary=vocabulary,
            fresh_head=fresh_head,
            batch_exact=self._masked and config.model_type not in _LEAKING,
        )

    def with_module(self, wrap: Callable[[nn.Module], nn.Module]) -> Wav2Vec2Ctc:
        """The same family around ``wrap(module)``; where no convolution moves, no gradient goes down to them."""
        wrapped = super().with_module(wrap)
        convolutions = getattr(wrapped._core.base_model, "feature_extractor", None)
        if convolutions is not None and not any(weight.requires_grad for weight in convolutions.parameters()):
            # Otherwise the library asks for the waveform's gradient: 20 of 22 MB of a small XLS-R's activations.
            wrapped._core.freeze_feature_encoder()
        return wrapped

    def features(self, waveforms: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        """``input_values`` [rows, samples] or ``input_features`` [rows, frames, mels], with ``attention_mask``."""
        extractor = self.processor.feature_extractor
        made = extractor(
            list(waveforms),
            sampling_rate=extractor.sampling_rate,
            padding=True,
            return_attention_mask=self._masked,
            return_tensors="pt",
        )
        return {name: made[name] for name in ("input_values", "input_features", "attention_mask") if name in made}

    def logits(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """[rows, frames, vocab]."""
        heard = {
            name: tensor.to(self._core.dtype) if tensor.is_floating_point() else tensor
            for name, tensor in inputs.items()
            if name in ("input_values", "input_features", "attention_mask")
        }
        return self._core(**heard).logits

    def frames_of(self, samples: int) -> int:
        """About 50 per second."""
        extractor = self.processor.feature_extractor
        if "input_features" in extractor.model_input_names:
            # Windows of 25 ms every 10 ms, two of them in a frame.
            samples = (1 + (samples - round(0.025 * extractor.sampling_rate)) // (extractor.sampling_rate // 100)) // 2
        return int(self._core._get_feat_extract_output_lengths(torch.tensor(samples)))
