import base64
import io

import numpy as np
import pytest
import soundfile

from asr_headroom.errors import AudioError
from asr_headroom.report.clips import Recording, choose_clips, encode_clip, recording_of
from asr_headroom.testing.results import make_results


def decode(uri):
    assert uri.startswith("data:audio/mpeg;base64,")
    return soundfile.read(io.BytesIO(base64.b64decode(uri.split(",")[1])))


def dominant_frequency(samples, rate):
    return np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples)


def test_a_clip_is_16_khz_mono_and_sounds_the_same(recordings):
    samples, rate = decode(encode_clip(Recording(recordings[10])))
    assert rate == 16_000
    assert samples.ndim == 1
    assert len(samples) / rate == pytest.approx(0.5, abs=0.1)
    assert dominant_frequency(samples, rate) == pytest.approx(300, abs=5)


def test_a_clip_is_only_its_segment(tmp_path):
    time = np.arange(16_000) / 16_000
    path = tmp_path / "two.wav"
    soundfile.write(path, np.concatenate([np.sin(600 * np.pi * time), np.sin(1600 * np.pi * time)]) * 0.3, 16_000)
    samples, rate = decode(encode_clip(Recording(path, 1.0, 2.0)))
    assert dominant_frequency(samples, rate) == pytest.approx(800, abs=5)
    assert len(samples) / rate == pytest.approx(1.0, abs=0.15)


def test_long_recordings_are_refused(tmp_path):
    path = tmp_path / "long.wav"
    soundfile.write(path, np.zeros(8_000 * 61), 8_000)
    with pytest.raises(AudioError, match="61 s is too long for a page, which takes 60 s"):
        encode_clip(Recording(path))
    assert encode_clip(Recording(path, 10.0, 12.0))


def test_the_limit_is_shared_between_the_lists_in_turn(recordings):
    lists = [[Recording(path) for path in recordings[:6]], [Recording(path) for path in recordings[6:8]]]
    shelf = choose_clips(lists, 5)
    assert [recordings.index(recording.path) for recording in shelf.uris] == [0, 6, 1, 7, 2]
    assert (shelf.num_left_out, shelf.problems) == (3, {})


def test_what_cannot_be_read_takes_no_place(recordings, tmp_path):
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"no audio")
    missing = Recording(tmp_path / "missing.wav")
    shelf = choose_clips([[missing, Recording(broken), *map(Recording, recordings[:2])]], 2)
    assert len(shelf.uris) == 2
    assert shelf.num_left_out == 0
    assert shelf.problems[missing] == f"no such file: {missing.path}"
    assert "not audio that can be decoded" in shelf.problems[Recording(broken)]


def test_the_same_recording_counts_once(recordings):
    one = Recording(recordings[0])
    assert len(choose_clips([[one, one], [one]], 5).uris) == 1


def test_relative_paths_are_looked_for_beside_the_run(recordings):
    (prediction,) = make_results([("a", "a")], audio=[recordings[0].name]).predictions
    assert recording_of(prediction, recordings[0].parent) == Recording(recordings[0])
    (prediction,) = make_results([("a", "a")]).predictions
    assert recording_of(prediction, None) is None
