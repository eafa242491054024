import dataclasses

import numpy as np
import pytest
import soundfile

from asr_headroom.analysis.slices import slice_results
from asr_headroom.analysis.snr import SNR_COLUMN, with_snr
from asr_headroom.testing.results import make_results
from asr_headroom.text.normalize import get_normalizer

RATE = 16_000


def record(path, noise, seed):
    """One second of bursts and pauses over noise of this amplitude."""
    time = np.arange(RATE) / RATE
    bursts = 0.3 * ((time % 0.25) < 0.15) * np.sin(2 * np.pi * 300 * time)
    soundfile.write(path, bursts + noise * np.random.default_rng(seed).standard_normal(RATE), RATE)
    return path.name


@pytest.fixture
def run(tmp_path):
    """Sixteen quiet recordings and sixteen noisy ones; noise costs a word each."""
    noisy = [i % 2 == 1 for i in range(32)]
    audio = [record(tmp_path / f"{i}.wav", 0.1 if is_noisy else 0.003, i) for i, is_noisy in enumerate(noisy)]
    texts = [(f"un deux trois {i}", f"un deux {'xx' if is_noisy else 'trois'} {i}") for i, is_noisy in enumerate(noisy)]
    return dataclasses.replace(make_results(texts, audio=audio), path=tmp_path)


def test_noise_can_be_sliced_by(run):
    measured, problems = with_snr(run)
    assert problems == ()
    levels = [prediction.extras[SNR_COLUMN] for prediction in measured.predictions]
    # The power of the bursts is 0.3² / 2 · 0.6, the noise's its amplitude squared.
    assert levels == pytest.approx([34.8, 4.3] * 16, abs=2)
    (column,) = slice_results(measured, normalizer=get_normalizer("fr"), columns=[SNR_COLUMN], min_clusters=4).columns
    shown = [part.base.rate for part in column.slices if part.base is not None]
    assert column.kind == "bands"
    assert shown[0] == 0.25
    assert shown[-1] == 0
    assert sorted(shown, reverse=True) == shown


def test_what_cannot_be_measured_is_said_and_kept(run, tmp_path):
    (tmp_path / "0.wav").unlink()
    soundfile.write(tmp_path / "1.wav", np.zeros(RATE), RATE)
    predictions = list(run.predictions)
    predictions[2] = dataclasses.replace(predictions[2], audio=None)
    predictions[3] = dataclasses.replace(predictions[3], audio=None, extras={SNR_COLUMN: 7.5})
    predictions[4] = dataclasses.replace(predictions[4], extras={"start": 0.5, "end": 0.6})
    measured, problems = with_snr(dataclasses.replace(run, predictions=predictions))
    assert [problem.split(":")[0] for problem in problems] == ["u0000", "u0001", "u0002", "u0004"]
    assert "no such file" in problems[0]
    assert "silent" in problems[1]
    assert "name no recording" in problems[2]
    assert len(measured.predictions) == 32
    assert measured.predictions[3].extras == {SNR_COLUMN: 7.5}
