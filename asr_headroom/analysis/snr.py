"""Adds a column with the estimated signal-to-noise ratio of each recording, to slice a test by noise."""

from __future__ import annotations

import dataclasses

from asr_headroom.audio.noise_level import estimate_snr
from asr_headroom.audio.waveform import read_waveform
from asr_headroom.errors import AudioError
from asr_headroom.results.recordings import recording_of
from asr_headroom.results.schema import Prediction
from asr_headroom.results.store import Results

__all__ = ["SNR_COLUMN", "with_snr"]

SNR_COLUMN = "SNR (dB)"
_SAMPLING_RATE = 16_000


def with_snr(results: Results) -> tuple[Results, tuple[str, ...]]:
    """A run with the column :data:`SNR_COLUMN`, and why some recordings have no value in it.

    Reads and decodes every recording: seconds for some hundred utterances. A value that the predictions hold already
    is kept.
    """
    problems: list[str] = []
    predictions = [_measured(prediction, results, problems) for prediction in results.predictions]
    return dataclasses.replace(results, predictions=predictions), tuple(problems)


def _measured(prediction: Prediction, results: Results, problems: list[str]) -> Prediction:
    if SNR_COLUMN in prediction.extras:
        return prediction
    recording = recording_of(prediction, results.path)
    if recording is None:
        problems.append(f"{prediction.id}: the predictions name no recording")
        return prediction
    try:
        samples = read_waveform(recording.path, _SAMPLING_RATE, start=recording.start, end=recording.end)
    except AudioError as error:
        problems.append(f"{prediction.id}: {error}")
        return prediction
    snr = estimate_snr(samples, _SAMPLING_RATE)
    if snr is None:
        problems.append(f"{prediction.id}: too short or silent to estimate noise from")
        return prediction
    return dataclasses.replace(prediction, extras={**prediction.extras, SNR_COLUMN: round(snr, 1)})
