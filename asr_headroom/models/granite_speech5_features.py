"""Features of Granite Speech 5 without torchaudio, and a processor around them that reads and writes its files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoTokenizer
from transformers.feature_extraction_utils import FeatureExtractionMixin

from asr_headroom.errors import ModelError
from asr_headroom.models.htk_mels import deltas, htk_mel_filters, mel_spectrogram

__all__ = ["GraniteSpeech5Features", "GraniteSpeech5Parts"]

_SETTINGS: dict[str, Any] = {
    "num_mel_bins": 80,
    "sampling_rate": 16_000,
    "n_fft": 512,
    "win_length": 400,
    "hop_length": 160,
    "delta_win_length": 3,
    "logmel_floor_db": 8.0,
}
_STACKED = 2
"""Mel frames of one feature frame."""


class GraniteSpeech5Features:
    """Log-mels with their slopes, two frames stacked; each recording on its own, so that padding changes none.

    The loudest bin is found per recording, and quieter ones are floored ``logmel_floor_db`` below it; the setting is in
    units of log10 of power, whatever its name says.

    Args:
        settings: of ``preprocessor_config.json``; others than those known are kept and written back.
    """

    def __init__(self, **settings: Any) -> None:
        self.settings = _SETTINGS | settings
        self.sampling_rate: int = self.settings["sampling_rate"]
        self.hop_length: int = self.settings["hop_length"]
        self._filters = htk_mel_filters(
            self.settings["n_fft"] // 2 + 1, self.settings["num_mel_bins"], self.sampling_rate
        )

    @classmethod
    def from_pretrained(cls, source: str) -> GraniteSpeech5Features:
        """Reads the settings of a hub id or folder."""
        return cls(**FeatureExtractionMixin.get_feature_extractor_dict(source)[0])

    def frames(self, samples: int) -> int:
        """Feature frames of so many samples."""
        return -(-(samples // self.hop_length) // _STACKED)

    def __call__(self, waveforms: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        """``input_features`` [rows, frames, 4 x mels] float32 and ``attention_mask`` [rows, frames] bool."""
        rows = [self._features(torch.from_numpy(waveform).float()) for waveform in waveforms]
        mask = nn.utils.rnn.pad_sequence([torch.ones(len(row), dtype=torch.bool) for row in rows], batch_first=True)
        return {"input_features": nn.utils.rnn.pad_sequence(rows, batch_first=True), "attention_mask": mask}

    def _features(self, waveform: torch.Tensor) -> torch.Tensor:
        count = _STACKED * self.frames(len(waveform))
        needed = (count - 1) * self.hop_length + 1
        waveform = nn.functional.pad(waveform, (0, max(0, needed - len(waveform))))
        mel = mel_spectrogram(
            waveform,
            self._filters,
            n_fft=self.settings["n_fft"],
            win_length=self.settings["win_length"],
            hop_length=self.hop_length,
        )[:, :count]
        log_mel = mel.clamp(min=1e-10).log10()
        log_mel = torch.maximum(log_mel, log_mel.max() - self.settings["logmel_floor_db"]) / 4 + 1
        both = torch.cat([log_mel, deltas(log_mel, self.settings["delta_win_length"])])
        return both.T.reshape(count // _STACKED, -1)


class GraniteSpeech5Parts:
    """Feature settings and tokenizer, in the files of ``GraniteSpeech5Processor``, which needs torchaudio to be read.

    Args:
        feature_extractor: the features.
        tokenizer: of the checkpoint.
    """

    def __init__(self, feature_extractor: GraniteSpeech5Features, tokenizer: Any) -> None:
        self.feature_extractor = feature_extractor
        self.tokenizer = tokenizer

    @classmethod
    def from_pretrained(cls, source: str) -> GraniteSpeech5Parts:
        """Reads a hub id or folder.

        Raises:
            ModelError: the tokenizer has no padding token, which is the blank.
        """
        tokenizer = AutoTokenizer.from_pretrained(source)
        if tokenizer.pad_token is None:
            raise ModelError(f"'{source}': the tokenizer has no padding token; copy its files from the original")
        return cls(GraniteSpeech5Features.from_pretrained(source), tokenizer)

    def save_pretrained(self, directory: Path) -> None:
        """Writes ``processor_config.json`` and the tokenizer's files."""
        self.tokenizer.save_pretrained(directory)
        extractor = self.feature_extractor.settings | {"feature_extractor_type": "GraniteSpeech5FeatureExtractor"}
        facts = {"feature_extractor": extractor, "processor_class": "GraniteSpeech5Processor"}
        text = json.dumps(facts, indent=2, sort_keys=True) + "\n"
        (Path(directory) / "processor_config.json").write_text(text, encoding="utf-8")
