"""Every rule finds what it is for, and leaves an ordinary corpus alone."""

from __future__ import annotations

import numpy as np
import pytest

from asr_headroom.analysis.label_doctor_evidence import Clip
from asr_headroom.analysis.label_doctor_rules import audio_findings, text_findings

WORDS = ("the", "house", "stood", "near", "a", "river", "and", "people", "came", "from", "far", "away", "to", "see")


def corpus(count=100, **changes):
    generator = np.random.default_rng(0)
    clips = []
    for number in range(count):
        words = generator.choice(WORDS, size=generator.integers(4, 9))
        text = " ".join(words)
        seconds = len(text) / 12 * generator.uniform(0.8, 1.25)
        clips.append(Clip(id=str(number), text=changes.get(f"t{number}", text), duration=seconds, language="en"))
    return clips


def kinds(clips, id_):
    return {(finding.kind, finding.is_severe) for finding in text_findings(clips).get(id_, [])}


def test_an_ordinary_corpus_has_no_findings():
    assert text_findings(corpus()) == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("…", ("empty", True)),
        ("дом стоял у реки", ("script", True)),
        ("the hоuse stood near", ("script", False)),
        ("c'est dans la maison que nous avons été", ("language", True)),
        ("the house <unk> stood near", ("form", False)),
        ("the house stood � near a river", ("characters", False)),
        ("THE HOUSE STOOD NEAR A RIVER", ("form", False)),
        ("the house of 1897 stood near", ("form", False)),
        ("the house « stood » near a river", ("form", False)),
        ("the\xa0house stood near a river", ("form", False)),
        ("the house stood near a river.", ("form", False)),
        ("the hoůse stood near a river", ("characters", False)),
    ],
)
def test_each_oddity_is_found(text, expected):
    assert expected in kinds(corpus(600, t7=text), "7")


def test_more_letters_than_the_time_allows():
    clips = corpus(t7=" ".join(WORDS * 8), t8="a")
    findings = text_findings(clips)
    (long,) = (f for f in findings["7"] if f.kind == "rate")
    (short,) = (f for f in findings["8"] if f.kind == "rate")
    assert long.is_severe
    assert "more than the recording can hold" in long.message
    assert "too little for so long" in short.message


def test_a_small_corpus_says_nothing_of_what_is_usual():
    clips = corpus(10, t3="THE HOUSE 12 STOOD")
    assert text_findings(clips) == {}


def test_chinese_has_many_rare_characters_and_none_is_odd():
    texts = ["我" + "".join(chr(0x4E00 + 7 * i + k) for k in range(4)) for i in range(600)]
    clips = [Clip(id=str(i), text=text, duration=2.0, language="zh") for i, text in enumerate(texts)]
    assert text_findings(clips) == {}


def speech(seconds=2.0, level=0.3):
    """Bursts of sound with silence before, between and after."""
    time = np.arange(int(16_000 * seconds)) / 16_000
    envelope = np.clip(np.sin(2 * np.pi * 2 * (time - 0.1)), 0, None) * (time > 0.1) * (time < seconds - 0.1)
    noise = 0.001 * np.random.default_rng(0).standard_normal(len(time))
    return (level * envelope * np.sin(2 * np.pi * 220 * time) + noise).astype(np.float32)


def messages(samples):
    return " ".join(finding.message for finding in audio_findings(samples, 16_000))


def test_recordings():
    assert audio_findings(speech(), 16_000) == []
    (silent,) = audio_findings(speech(level=0.0) * 0.1, 16_000)
    assert silent.is_severe
    assert "silent" in silent.message
    assert "overdriven" in messages(np.clip(speech() * 20, -1, 1))
    noisy = speech() + 0.3 * np.random.default_rng(1).standard_normal(32_000).astype(np.float32)
    assert "noisy" in messages(noisy)
    start = int(16_000 * 0.225)  # the middle of the first burst
    assert "cut: it starts" in messages(speech()[start:])
    assert "lasts 5 ms" in messages(speech()[:80])
    assert audio_findings(np.zeros(16_000, dtype=np.float32), 16_000)[0].is_severe
