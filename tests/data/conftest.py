"""Small recordings and rows for the tests of the data room."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile


def _write_tone(path: Path, seconds: float = 1.0, *, rate: int = 16_000, hertz: float = 440.0, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    times = np.arange(round(seconds * rate)) / rate
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * hertz * times), rate, **options)
    return path


def _write_rows(path: Path, *rows: object) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture
def write_tone() -> Callable[..., Path]:
    """Writes a sine wave of amplitude 0.3."""
    return _write_tone


@pytest.fixture
def write_rows() -> Callable[..., Path]:
    """Writes JSON lines; strings are lines as they are."""
    return _write_rows


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A folder with ``a.wav``, ``b.wav`` and ``c.wav`` of 1, 2 and 3 seconds."""
    for seconds, name in enumerate("abc", start=1):
        _write_tone(tmp_path / f"{name}.wav", seconds, hertz=300 + 100 * seconds)
    return tmp_path


@pytest.fixture
def data_set_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``datasets`` converts goes to the test's own folder."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "data-set-cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()


@pytest.fixture
def make_data_set(tmp_path: Path, data_set_cache: None) -> Callable:
    """A data set as the hub stores speech: encoded audio in a column of type Audio."""
    import datasets

    def make(columns: dict[str, list], seconds: list[float], rate: int = 16_000) -> datasets.Dataset:
        cells = []
        for index, duration in enumerate(seconds):
            path = _write_tone(tmp_path / "encoded" / f"tone-{index}.wav", duration, rate=rate)
            cells.append({"bytes": path.read_bytes(), "path": path.name})
        plain = datasets.Dataset.from_dict({**columns, "audio": cells})
        return plain.cast_column("audio", datasets.Audio(decode=False)).cast_column("audio", datasets.Audio())

    return make
