from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asr_headroom.audio.waveform import describe_source, read_audio_bytes, read_info, read_waveform
from asr_headroom.errors import AudioError

FORMATS = {
    "u8.wav": {"subtype": "PCM_U8"},
    "16.wav": {"subtype": "PCM_16"},
    "24.wav": {"subtype": "PCM_24"},
    "float.wav": {"subtype": "FLOAT"},
    "a.flac": {},
    "a.mp3": {},
    "a.ogg": {"format": "OGG", "subtype": "VORBIS"},
    "a.opus": {"format": "OGG", "subtype": "OPUS"},
}


class Stored:
    """Audio that a data set would hold."""

    name = "row 7"

    def __init__(self, encoded: bytes) -> None:
        self.encoded = encoded

    def read_bytes(self) -> bytes:
        return self.encoded


def tone(seconds: float, rate: int, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def loudest_hertz(samples: np.ndarray, rate: int) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), n=16 * len(samples)))
    return float(spectrum.argmax() * rate / (16 * len(samples)))


def write(path: Path, samples: np.ndarray, rate: int, **options) -> Path:
    soundfile.write(path, samples, rate, **options)
    return path


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("kind", ["path", "bytes", "stored"])
def test_every_format_from_every_source(tmp_path, name, kind):
    path = write(tmp_path / name, tone(1.0, 16_000), 16_000, **FORMATS[name])
    source = {"path": path, "bytes": path.read_bytes(), "stored": Stored(path.read_bytes())}[kind]
    samples = read_waveform(source, 16_000)
    assert samples.shape == (16_000,)
    assert samples.dtype == np.float32
    assert read_info(source) == (1.0, 16_000, 1)
    assert loudest_hertz(samples, 16_000) == pytest.approx(440, abs=2)
    assert np.sqrt(np.mean(samples**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.05)


@pytest.mark.parametrize("name", ["16.wav", "24.wav", "float.wav", "a.flac"])
def test_lossless_formats_give_the_samples_back(tmp_path, name):
    written = tone(0.5, 16_000)
    path = write(tmp_path / name, written, 16_000, **FORMATS[name])
    assert np.abs(read_waveform(path, 16_000) - written).max() <= 1 / 32768


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rate=st.sampled_from([8000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000]),
    wanted=st.sampled_from([8000, 16_000, 24_000]),
    hertz=st.floats(100, 3000),
)
def test_resampling_keeps_frequency_and_duration(tmp_path, rate, wanted, hertz):
    path = write(tmp_path / "a.wav", tone(0.7, rate, hertz), rate)
    samples = read_waveform(path, wanted)
    assert abs(len(samples) - 0.7 * wanted) <= 2
    assert loudest_hertz(samples, wanted) == pytest.approx(hertz, abs=2)
    middle = samples[len(samples) // 4 : -len(samples) // 4]
    assert np.abs(middle).max() == pytest.approx(0.5, abs=0.03)


def test_channels_are_averaged(tmp_path):
    left, right = tone(0.2, 16_000, 300), tone(0.2, 16_000, 900)
    path = write(tmp_path / "a.wav", np.stack([left, right], axis=1), 16_000, subtype="FLOAT")
    assert read_info(path).channels == 2
    np.testing.assert_allclose(read_waveform(path, 16_000), (left + right) / 2, atol=1e-6)


@pytest.mark.parametrize("name", FORMATS)
def test_segments_are_cut_out_of_the_whole(tmp_path, name):
    samples = np.concatenate([tone(1.0, 16_000, 300), tone(1.0, 16_000, 900)])
    path = write(tmp_path / name, samples, 16_000, **FORMATS[name])
    segment = read_waveform(path, 16_000, start=1.2, end=1.7)
    assert segment.shape == (8000,)
    assert loudest_hertz(segment, 16_000) == pytest.approx(900, abs=5)
    assert read_waveform(path, 16_000, start=1.5).shape == (8000,)


def test_an_end_beyond_the_recording_is_its_end(tmp_path):
    path = write(tmp_path / "a.wav", tone(1.0, 16_000), 16_000)
    assert read_waveform(path, 16_000, start=0.5, end=9.0).shape == (8000,)


def test_a_wav_of_unknown_size_is_read_to_its_end(tmp_path):
    path = write(tmp_path / "a.wav", tone(1.0, 16_000), 16_000)
    encoded = bytearray(path.read_bytes())
    position = encoded.index(b"data") + 4
    encoded[position : position + 4] = b"\xff\xff\xff\xff"  # as programs write it to a pipe
    assert read_waveform(bytes(encoded), 16_000).shape == (16_000,)


def test_a_few_bytes_too_many_in_a_wav_header_are_no_cut(tmp_path):
    path = write(tmp_path / "a.wav", tone(1.0, 16_000), 16_000)
    assert read_waveform(path.read_bytes()[:-8], 16_000).shape == (15_996,)
    with pytest.raises(AudioError, match="truncated, 400 bytes"):
        read_waveform(path.read_bytes()[:-400], 16_000)


@pytest.mark.parametrize("kind", ["path", "bytes"])
def test_a_flac_of_unknown_length_is_refused_and_says_why(tmp_path, kind):
    path = write(tmp_path / "a.flac", tone(1.5, 16_000), 16_000)
    encoded = bytearray(path.read_bytes())
    encoded[21] &= 0xF0  # STREAMINFO: 36 bits of total samples, 0 is unknown
    encoded[22:26] = bytes(4)
    path.write_bytes(encoded)
    source = path if kind == "path" else bytes(encoded)
    for read in (read_info, lambda source: read_waveform(source, 16_000)):
        with pytest.raises(AudioError, match="states no length"):
            read(source)


def test_a_header_that_announces_hours_allocates_none(tmp_path):
    path = write(tmp_path / "a.mp3", tone(1.0, 16_000), 16_000)
    encoded = bytearray(path.read_bytes())
    position = encoded.index(b"Xing")
    encoded[position + 8 : position + 12] = b"\x00\xf0\x00\x00"  # frames of 576 samples
    with pytest.raises(AudioError, match="truncated"):
        read_waveform(bytes(encoded), 16_000)


def test_long_recordings_are_read_whole(tmp_path):
    samples = tone(70.0, 16_000)  # more than one block
    np.testing.assert_array_equal(
        read_waveform(write(tmp_path / "a.wav", samples, 16_000, subtype="FLOAT"), 16_000), samples
    )


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), name=st.sampled_from(sorted(FORMATS)))
def test_damaged_bytes_never_raise_anything_else(tmp_path, data, name):
    encoded = bytearray(write(tmp_path / name, tone(0.3, 16_000), 16_000, **FORMATS[name]).read_bytes())
    for position in data.draw(st.lists(st.integers(0, min(len(encoded), 300) - 1), max_size=8)):
        encoded[position] = data.draw(st.integers(0, 255))
    encoded = bytes(encoded[: data.draw(st.integers(0, len(encoded)))])
    try:
        samples = read_waveform(encoded, 16_000)
    except AudioError:
        return
    assert np.isfinite(samples).all()
    assert len(samples)


def test_chunks_after_the_samples_do_no_harm(tmp_path):
    path = write(tmp_path / "a.wav", tone(1.0, 16_000), 16_000)
    encoded = path.read_bytes() + b"LIST\x04\x00\x00\x00abcd"
    assert read_waveform(encoded, 16_000).shape == (16_000,)


def malformed(kind: str, folder: Path) -> Path:
    path = folder / "a.wav"
    if kind in ("missing", "long name"):
        return path if kind == "missing" else folder / ("x" * 300 + ".wav")
    if kind == "folder":
        path.mkdir()
        return path
    if kind == "raw":
        return Path(str(write(path, tone(1.0, 16_000), 16_000).rename(folder / "a.raw")))
    if kind in ("zero length", "text"):
        path.write_bytes(b"" if kind == "zero length" else b"not audio at all\n" * 20)
        return path
    if kind in ("nan", "infinite"):
        samples = tone(1.0, 16_000)
        samples[8000] = np.nan if kind == "nan" else np.inf
        return write(path, samples, 16_000, subtype="FLOAT")
    if kind == "no samples":
        return write(path, np.zeros(0), 16_000)
    name = kind.removeprefix("cut ")
    path = write(folder / name, tone(2.0, 16_000), 16_000, **FORMATS[name])
    encoded = path.read_bytes()
    path.write_bytes(encoded[: len(encoded) * 6 // 10])
    return path


MALFORMED = (
    "missing",
    "long name",
    "folder",
    "raw",
    "zero length",
    "text",
    "nan",
    "infinite",
    "no samples",
    *(f"cut {name}" for name in FORMATS if name != "a.opus"),
)


@pytest.mark.parametrize("kind", MALFORMED)
def test_malformed_recordings_are_refused_by_name(tmp_path, kind):
    path = malformed(kind, tmp_path)
    with pytest.raises(AudioError) as caught:
        read_waveform(path, 16_000)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("kind", [kind for kind in MALFORMED if kind not in ("missing", "long name", "folder", "raw")])
def test_malformed_bytes_are_refused(tmp_path, kind):
    encoded = malformed(kind, tmp_path).read_bytes()
    with pytest.raises(AudioError, match="bytes of audio"):
        read_waveform(encoded, 16_000)


@pytest.mark.parametrize("kind", ["missing", "zero length", "text", "no samples", "cut 16.wav", "cut float.wav"])
def test_headers_alone_tell(tmp_path, kind):
    with pytest.raises(AudioError):
        read_info(malformed(kind, tmp_path))


@pytest.mark.parametrize(
    ("start", "end"), [(-1.0, None), (1.0, None), (5.0, None), (0.5, 0.5), (0.5, 0.2), (0.99999, None)]
)
def test_empty_segments_are_refused(tmp_path, start, end):
    path = write(tmp_path / "a.wav", tone(1.0, 16_000), 16_000)
    with pytest.raises(AudioError):
        read_waveform(path, 16_000, start=start, end=end)


def test_sources_describe_themselves(tmp_path):
    assert describe_source(tmp_path / "a.wav") == str(tmp_path / "a.wav")
    assert describe_source(b"1234") == "<4 bytes of audio>"
    assert describe_source(Stored(b"")) == "row 7"


def test_bytes_of_every_source(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"xyz")
    assert read_audio_bytes(path) == read_audio_bytes(b"xyz") == read_audio_bytes(Stored(b"xyz")) == b"xyz"
    with pytest.raises(AudioError, match="No such file"):
        read_audio_bytes(tmp_path / "none")


def test_agrees_with_an_independent_resampler(tmp_path):
    """A sine at another rate is the same sine: compared with its formula away from the edges."""
    path = write(tmp_path / "a.wav", tone(1.0, 44_100, 700), 44_100, subtype="FLOAT")
    samples = read_waveform(path, 16_000)
    np.testing.assert_allclose(samples[800:-800], tone(1.0, 16_000, 700)[800 : len(samples) - 800], atol=2e-3)


def test_a_stream_in_memory_is_left_alone(tmp_path):
    path = write(tmp_path / "a.wav", tone(1.0, 16_000), 16_000)
    encoded = path.read_bytes()
    read_waveform(encoded, 8000)
    assert encoded == path.read_bytes()
    assert soundfile.info(io.BytesIO(encoded)).frames == 16_000
