"""Whisper in your own ``Seq2SeqTrainer`` script: windows that fit, right targets, a loss that is the mean per token.

::

    fit_windows(model)
    trainer = Seq2SeqTrainer(model=model, args=arguments, train_dataset=rows, eval_dataset=dev_rows,
        data_collator=SpeechCollator(processor, model), compute_loss_func=token_loss)

The script must set ``remove_unused_columns=False``, so that audio and text reach the collator. Not for other model
families, and not a trainer: whoever writes no script of their own is better served by ``asr-headroom train``.
"""

from __future__ import annotations

import copy
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import soundfile
import torch
from torch import nn
from torch.nn import functional
from transformers import WhisperForConditionalGeneration, WhisperProcessor
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.whisper.modeling_whisper import WhisperEncoder
from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE

from asr_headroom.audio.features import log_mel
from asr_headroom.audio.waveform import AudioSource, StoredAudio
from asr_headroom.data.manifest import Utterance
from asr_headroom.data.readers_rows import AUDIO_COLUMNS, TEXT_COLUMNS, first_column, language_tag
from asr_headroom.errors import DataError, ModelError
from asr_headroom.models.checkpoints import base_module
from asr_headroom.models.whisper import Whisper
from asr_headroom.models.whisper_encoder import Window, encode_features

__all__ = ["SpeechCollator", "fit_windows", "token_loss", "unfit_windows"]

Model = TypeVar("Model", bound=nn.Module)

_CUT_SEGMENT = "_get_input_segment"
"""The step of transformers' ``generate`` that pads features to 30 s."""
_LANGUAGE_COLUMNS = ("language", "locale")


# ---------------------------------------------------------------------- windows


def fit_windows(model: Model) -> Model:
    """Lets a Whisper take features shorter than 30 s, in training, evaluation and ``generate``; changes no weight.

    The encoder uses the first positions of its table for as many frames as it is given; 30 s pass as before. Files,
    names and number of weights stay what they are, so saving, loading and PEFT (before or after) do not notice.
    Calling it twice is harmless; :func:`unfit_windows` undoes it. While fitted, the encoder records no hidden states
    or attentions of its layers.

    Args:
        model: ``WhisperForConditionalGeneration``, or a PEFT model around one.

    Returns:
        The same object.

    Raises:
        ModelError: it is not that class, or something else has replaced the encoder's forward already.
    """
    core = _whisper_of(model)
    encoder = core.model.encoder
    if _is_fitted(core):
        return model
    if type(encoder) is not WhisperEncoder or "forward" in vars(encoder):
        raise ModelError(
            f"the encoder is a {type(encoder).__name__} with a forward that is not transformers' own; "
            "call fit_windows right after from_pretrained, without a device_map over several devices"
        )
    if not hasattr(core, _CUT_SEGMENT):
        raise ModelError(
            f"this transformers has no WhisperForConditionalGeneration.{_CUT_SEGMENT}, so generate() would pad to "
            "30 s; use a release that was tested (5.23)"
        )
    encoder.__class__ = _FittedEncoder
    setattr(core, _CUT_SEGMENT, _cut_segment)
    return model


def unfit_windows(model: Model) -> Model:
    """Takes :func:`fit_windows` back; a model that was not fitted stays as it is."""
    core = _whisper_of(model)
    if _is_fitted(core):
        core.model.encoder.__class__ = WhisperEncoder
        delattr(core, _CUT_SEGMENT)
    return model


class _FittedEncoder(WhisperEncoder):
    """``WhisperEncoder`` that also takes fewer frames; an encoder becomes one by its class alone."""

    def forward(self, input_features: torch.Tensor, attention_mask: Any = None, **options: Any) -> BaseModelOutput:
        """Encodes [batch, mels, frames]; as many frames as the model was built for take transformers' own path."""
        frames = self.max_source_positions * self.conv1.stride[0] * self.conv2.stride[0]
        if input_features.shape[-1] >= frames:
            return super().forward(input_features, attention_mask, **options)
        return BaseModelOutput(last_hidden_state=encode_features(self, input_features, **options))


def _cut_segment(input_features: torch.Tensor | None, *, num_segment_frames: int, **options: Any) -> Any:
    """The step as transformers has it, padding to the width of the features instead of 30 s."""
    if input_features is not None:
        num_segment_frames = min(num_segment_frames, input_features.shape[-1])
    cut = getattr(WhisperForConditionalGeneration, _CUT_SEGMENT)
    return cut(input_features=input_features, num_segment_frames=num_segment_frames, **options)


def _is_fitted(core: Any) -> bool:
    return type(core.model.encoder) is _FittedEncoder


def _whisper_of(model: nn.Module) -> Any:
    core = base_module(model)
    if not isinstance(core, WhisperForConditionalGeneration):
        raise ModelError(f"this is a {type(core).__name__}; give a WhisperForConditionalGeneration, or PEFT around one")
    return core


# ---------------------------------------------------------------------- loss


def token_loss(outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None) -> Any:
    """Cross-entropy per supervised token of the whole step, for ``Seq2SeqTrainer(compute_loss_func=token_loss)``.

    Whisper's own loss is the mean of each micro-batch and ignores the trainer's token count, while the trainer (seen
    in transformers 5.23) believes that it was used: with ``gradient_accumulation_steps=k`` the gradient is k times
    too large, and with n processes n times. With this function batch 4 × accumulation 2 is batch 8.

    Args:
        outputs: of the model; ``logits`` [batch, tokens, vocab].
        labels: [batch, tokens] int64, -100 where nothing is supervised.
        num_items_in_batch: supervised tokens of the step, over all micro-batches and processes; None takes those of
            ``labels``.

    Returns:
        [] scalar, nats per token, float32.
    """
    logits = outputs["logits"] if isinstance(outputs, Mapping) else outputs[0]
    labels = labels.to(logits.device)
    supervised = labels != -100
    nats = functional.cross_entropy(logits[supervised].float(), labels[supervised], reduction="sum")
    return nats / (supervised.sum() if num_items_in_batch is None else num_items_in_batch)


# ---------------------------------------------------------------------- collator


class SpeechCollator:
    """Rows with audio and text in, what Whisper's forward takes out; for ``data_collator=``.

    Audio is decoded, mixed to mono, resampled and turned into log-mels here, so the data set is neither mapped nor
    stored as features. The decoder is fed prompt and target and supervised on target and end token only, exactly as
    in ``asr-headroom train``.

    With fitted windows a batch is as wide as its longest clip, rounded up to whole seconds. So what the model computes
    for a clip depends a little on its company. Group clips of like length to keep that, and the padding, small: give
    the data set a column ``length`` and set ``train_sampling_strategy="group_by_length"``.

    It holds no weights, so it travels to the workers of a ``DataLoader`` as it is.

    Args:
        processor: of the model.
        model: the model that is trained, or PEFT around it; read for its settings, not kept.
        language: of all rows, as tag or English name. None takes the tokenizer's language (the one given to
            ``from_pretrained(..., language=...)``), else each row's ``language`` or ``locale``. English-only models
            need none.
        window: ``fit`` or ``full`` (30 s); None takes ``fit`` when :func:`fit_windows` was called on the model.
        audio_key: column of the audio; None looks for the usual names.
        text_key: column of the transcript; None looks for the usual names.

    Raises:
        ModelError: processor and model do not belong together, the model cannot take the window, or the tokenizer
            asks for translation or timestamps.
    """

    def __init__(
        self,
        processor: WhisperProcessor,
        model: nn.Module,
        *,
        language: str | None = None,
        window: Window | None = None,
        audio_key: str | None = None,
        text_key: str | None = None,
    ) -> None:
        core = _whisper_of(model)
        tokenizer = cast(Any, processor).tokenizer
        if tokenizer.task == "translate" or tokenizer.predict_timestamps:
            raise ModelError(
                f"the tokenizer has task={tokenizer.task!r} and predict_timestamps={tokenizer.predict_timestamps}; "
                "SpeechCollator writes transcripts without timestamps, so load the processor with task='transcribe'"
            )
        is_fitted = _is_fitted(core)
        if window == "fit" and not is_fitted:
            raise ModelError("window is 'fit' but the model takes 30 s only; call fit_windows(model) before")
        self._language = _whisper_language(language or tokenizer.language)
        self._audio_columns = (audio_key,) if audio_key else AUDIO_COLUMNS
        self._text_columns = (text_key,) if text_key else TEXT_COLUMNS
        self._needs_mask = bool(core.config.apply_spec_augment)
        self.family = _without_weights(core, processor, window or ("fit" if is_fitted else "full"))
        features = cast(Any, processor).feature_extractor
        self._stft = {"n_fft": features.n_fft, "hop_length": features.hop_length}
        self._mel_filters = torch.from_numpy(np.asarray(features.mel_filters)).float()

    def __call__(self, rows: Sequence[Mapping[str, Any] | Utterance]) -> dict[str, torch.Tensor]:
        """One batch.

        Args:
            rows: each an :class:`~asr_headroom.data.manifest.Utterance`, or a mapping with a text column and an audio
                column: a path, an encoded file as bytes, or what ``datasets`` gives (``array`` [samples] or
                [channels, samples] in [-1, 1] and ``sampling_rate``; ``bytes``; ``path``).

        Returns:
            ``input_features`` [batch, mels, frames] float32; ``decoder_input_ids`` and ``labels`` [batch, tokens]
            int64, padded with the end token and -100. For a model with ``apply_spec_augment`` also ``attention_mask``
            [batch, frames] int64, 1 where there is audio, so that masks do not fall on padding.

        Raises:
            DataError: a row lacks audio or text, or either is longer than the model takes; nothing is cut.
            AudioError: audio cannot be decoded.
            ModelError: a multilingual model and no language, or one that it does not know.
        """
        batch = self.family.collate([self.utterance(number, row) for number, row in enumerate(rows, start=1)])
        waveforms = batch.inputs.pop("waveforms")
        features = {"input_features": log_mel(waveforms, self._mel_filters, **self._stft)}
        if self._needs_mask:
            features["attention_mask"] = self._mask(waveforms)
        return {**features, **batch.inputs}

    def _mask(self, waveforms: torch.Tensor) -> torch.Tensor:
        # What follows the last sample that is not zero is padding, or as silent as padding.
        heard = waveforms.flip(1).ne(0).cummax(1).values.flip(1)
        return heard[:, :: self._stft["hop_length"]].long()

    def utterance(self, number: int, row: Mapping[str, Any] | Utterance) -> Utterance:
        """One row as an utterance; ``number`` is for messages. Raises what :meth:`__call__` does about rows."""
        if isinstance(row, Utterance):
            return replace(row, language=self._language or row.language)
        where = f"row {number} of a batch"
        audio_column = first_column(row, self._audio_columns)
        text_column = first_column(row, self._text_columns)
        if audio_column is None or text_column is None:
            missing, wanted = ("audio", self._audio_columns) if audio_column is None else ("text", self._text_columns)
            raise DataError(
                f"{where} has no {missing} column (looked for: {', '.join(wanted)}; there are: "
                f"{', '.join(map(str, row)) or 'none'}); set remove_unused_columns=False in the training arguments, "
                "and name other columns by audio_key and text_key"
            )
        text = row[text_column]
        if not isinstance(text, str):
            raise DataError(f"{where}: {text_column} is {text!r}; it must be a string")
        where = str(row.get("id") or f"{where} ({text[:40]!r})")
        language = self._language or _row_language(where, row)
        return Utterance(id=where, audio=_source(where, row[audio_column]), text=text, language=language)


def _without_weights(core: Any, processor: WhisperProcessor, window: Window) -> Whisper:
    """The family's prompts, targets and windows on a model of the same settings without memory for weights."""
    with torch.device("meta"):
        skeleton = WhisperForConditionalGeneration(copy.deepcopy(core.config))
    skeleton.generation_config = copy.deepcopy(core.generation_config)
    return Whisper(skeleton, processor, model_id=core.name_or_path or "the model", window=window)


def _whisper_language(name: str | None) -> str | None:
    return None if name is None else language_tag(TO_LANGUAGE_CODE.get(name.lower(), name)) or name


def _row_language(where: str, row: Mapping[str, Any]) -> str | None:
    column = first_column(row, _LANGUAGE_COLUMNS)
    name = row[column] if column else None
    if name is not None and not isinstance(name, str):
        raise DataError(f"{where}: {column} is {name!r}; write a tag such as fr, or give SpeechCollator a language")
    return _whisper_language(name or None)


@dataclass(slots=True)
class _Encoded:
    """An encoded file in memory that messages can name."""

    name: str
    content: bytes

    def read_bytes(self) -> bytes:
        return self.content


def _source(where: str, audio: Any) -> AudioSource:
    """What ``read_waveform`` reads, of all that data sets call audio."""
    if isinstance(audio, str | Path):
        return Path(audio)
    if isinstance(audio, bytes):
        return _Encoded(where, audio)
    if isinstance(audio, StoredAudio):
        return audio
    if isinstance(audio, Mapping) and audio.get("array") is None:
        if audio.get("bytes"):
            return _Encoded(where, audio["bytes"])
        if audio.get("path"):
            return Path(audio["path"])
    elif hasattr(audio, "__getitem__") and not isinstance(audio, Sequence | np.ndarray | torch.Tensor):
        # A mapping, or the decoder object of datasets, which answers to the same two keys.
        return _Encoded(where, _wav(where, np.asarray(audio["array"]), int(audio["sampling_rate"])))
    raise DataError(
        f"{where}: the audio is a {type(audio).__name__}, from which no sampling rate or file can be told; "
        "give a path, bytes, or what datasets.Audio() gives"
    )


def _wav(where: str, array: np.ndarray, sampling_rate: int) -> bytes:
    """Samples as a WAV file in memory, so that mixing, checks and resampling are those of every other source."""
    if not np.issubdtype(array.dtype, np.floating) or array.ndim not in (1, 2) or len(array) > array.shape[-1]:
        raise DataError(
            f"{where}: the audio array is {array.dtype} {list(array.shape)}; give floats in [-1, 1], [samples] or "
            "[channels, samples]"
        )
    file = io.BytesIO()
    soundfile.write(file, array.astype(np.float32).T, sampling_rate, format="WAV", subtype="FLOAT")
    return file.getvalue()
