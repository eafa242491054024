"""Joined recordings: what is in them, sample by sample, and what is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from asr_headroom.audio.waveform import read_info, read_waveform
from asr_headroom.data.long_form import joined_utterances
from asr_headroom.data.manifest import Utterance
from asr_headroom.testing.synthetic import tone_utterance

RATE = 16_000


def _dev(number: int, *, seconds: float = 9.0, language: str | None = "fr") -> Utterance:
    """An utterance of stated length; only the tests that read audio need it to be true."""
    return replace(tone_utterance("abc"), id=str(number), text=f"phrase {number}", language=language, duration=seconds)


def test_recordings_last_between_40_and_60_seconds_and_use_each_utterance_once():
    made = joined_utterances([_dev(i, seconds=4 + i % 9) for i in range(60)], count=100, sampling_rate=RATE)
    assert all(40 <= u.measured_duration() <= 60 for u in made)
    used = [part for u in made for part in u.extras["parts"]]
    assert len(used) == len(set(used))
    assert sum(u.measured_duration() for u in made) > 400, "most of the 480 s of speech is used"
    assert len({u.id for u in made}) == len(made)


def test_the_order_decides_and_the_count_is_kept():
    dev = [_dev(i) for i in range(30)]
    first, second = (joined_utterances(dev, count=2, sampling_rate=RATE) for _ in range(2))
    assert [u.extras["parts"] for u in first] == [u.extras["parts"] for u in second]
    # Five of 9 s and four pauses of half a second are 47 s; four are 37.5 s.
    assert [u.extras["parts"] for u in first] == [["0", "1", "2", "3", "4"], ["5", "6", "7", "8", "9"]]
    assert first[0].text == "phrase 0 phrase 1 phrase 2 phrase 3 phrase 4"
    assert first[0].measured_duration() == pytest.approx(47.0)


def test_languages_are_not_mixed_and_chinese_has_no_spaces():
    dev = [_dev(i, language="zh" if i % 2 else "fr") for i in range(20)]
    made = joined_utterances(dev, count=10, sampling_rate=RATE)
    assert {u.language for u in made} == {"zh", "fr"}
    for joined in made:
        assert {int(part) % 2 for part in joined.extras["parts"]} == {int(joined.language == "zh")}
        assert joined.text.count("phrase ") == 5
        assert (joined.language == "fr") == (" phrase" in joined.text)


def test_one_too_long_to_fit_is_left_out():
    made = joined_utterances([_dev(i, seconds=35 if i == 1 else 39) for i in range(2)], count=1, sampling_rate=RATE)
    assert made == []
    (one,) = joined_utterances([_dev(0, seconds=32), _dev(1, seconds=31), _dev(2)], count=1, sampling_rate=RATE)
    assert one.extras["parts"] == ["0", "2"]


def test_what_the_model_cannot_take_is_dropped():
    made = joined_utterances(
        [_dev(i) for i in range(15)], count=2, sampling_rate=RATE, takes=lambda u: "0" not in u.extras["parts"]
    )
    assert [u.extras["parts"][0] for u in made] == ["5", "10"]


def test_samples_are_those_of_the_parts_with_half_a_second_of_silence_between():
    parts = [tone_utterance(text, letter_seconds=0.5) for text in ("abcab" * 5, "cabca" * 6, "bbcaa" * 7)]
    seconds = [u.measured_duration() for u in parts]
    assert 0 < max(seconds) < 40 <= sum(seconds), seconds
    (joined,) = joined_utterances(parts, count=1, sampling_rate=RATE)
    expected: list[np.ndarray] = []
    for part in parts[: len(joined.extras["parts"])]:
        expected += [part.samples(RATE), np.zeros(RATE // 2, dtype=np.float32)]
    samples = read_waveform(joined.audio, RATE)
    assert np.array_equal(samples, np.concatenate(expected[:-1]))
    assert read_info(joined.audio).duration == pytest.approx(joined.measured_duration(), abs=1e-3)
