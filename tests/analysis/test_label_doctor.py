"""Planted errors are found from what weak judges hear, false alarms stay in bounds, kinds and partners are named."""

from __future__ import annotations

import numpy as np
import pytest

from asr_headroom.analysis.label_doctor import diagnose, verdict_to_json
from asr_headroom.analysis.label_doctor_evidence import Clip, Judged, TextPool
from asr_headroom.analysis.label_doctor_planting import Planter
from asr_headroom.errors import DataError, UsageError
from asr_headroom.text.normalize import get_normalizer

BASIC = get_normalizer("basic")
SYLLABLES = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u")]


def spoken(count, generator):
    """What was said: words of two or three syllables, 900 of them."""
    words = ["".join(generator.choice(SYLLABLES, size=generator.integers(2, 4))) for _ in range(900)]
    return [" ".join(generator.choice(words, size=generator.integers(4, 10))) for _ in range(count)]


def hear(text, generator, error_rate=0.35):
    """A recogniser that gets every third word wrong."""
    wrong = generator.random(len(text.split())) < error_rate
    syllable = generator.choice(SYLLABLES, size=len(wrong))
    return " ".join(s + w[2:] if bad else w for w, bad, s in zip(text.split(), wrong, syllable, strict=True))


@pytest.fixture(scope="module")
def examined():
    generator = np.random.default_rng(5)
    said = spoken(400, generator)
    texts = list(said)
    truth = {}
    for a, b in zip(range(0, 12, 2), range(1, 12, 2), strict=True):
        texts[a], texts[b] = said[b], said[a]
        truth |= {str(a): "swapped", str(b): "swapped"}
    for index in range(20, 32):
        words = said[index].split()
        texts[index] = " ".join(words[: len(words) // 2])
        truth[str(index)] = "truncated"
    clips = [
        Clip(id=str(i), text=text, duration=len(said[i]) / 12 * generator.uniform(0.9, 1.1), speaker=f"s{i % 20}")
        for i, text in enumerate(texts)
    ]
    judge = {clip.id: Judged(heard=hear(said[int(clip.id)], generator)) for clip in clips}
    pool, planter = TextPool(texts, BASIC), Planter(texts, "word")
    spoiled = {clip.id: planter.spoil(clip.id, clip.text) for clip in clips}
    return diagnose(clips, {"judge": judge}, spoiled, pool), truth


def test_planted_errors_are_found_and_called_what_they_are(examined):
    diagnosis, truth = examined
    suspects = {verdict.clip.id: verdict for verdict in diagnosis.suspects}
    for kind in ("swapped", "truncated"):
        planted = {id_ for id_, own in truth.items() if own == kind}
        assert len(planted & suspects.keys()) >= 11
        assert sum(suspects[id_].kind == kind for id_ in planted & suspects.keys()) >= 10
    assert len(suspects.keys() - truth.keys()) <= 0.05 * (400 - len(truth))


def test_partners_of_swaps_are_named(examined):
    diagnosis, truth = examined
    for verdict in diagnosis.suspects:
        if truth.get(verdict.clip.id) == "swapped":
            assert verdict.partner == str(int(verdict.clip.id) ^ 1)
        if truth.get(verdict.clip.id) == "truncated":
            assert verdict.partner is None


def test_shares_are_near_the_truth(examined):
    diagnosis, _ = examined
    assert diagnosis.shares["swapped"] == pytest.approx(12 / 400, abs=0.015)
    assert diagnosis.shares["truncated"] == pytest.approx(12 / 400, abs=0.02)


def test_the_most_suspect_come_first(examined):
    diagnosis, truth = examined
    assert {verdict.clip.id for verdict in diagnosis.verdicts[:15]} <= truth.keys()
    assert len(diagnosis.verdicts) == 400
    flags = [verdict.is_suspect for verdict in diagnosis.verdicts]
    assert flags == sorted(flags, reverse=True)


def test_a_verdict_as_plain_values(examined):
    diagnosis, _ = examined
    plain = verdict_to_json(diagnosis.verdicts[0], diagnosis.pool)
    assert plain["suspect"] is True
    assert plain["nats"] is None
    said = [reference for operation, reference, _ in plain["alignment"] if operation != "insert"]
    assert " ".join(said) == BASIC(plain["text"])
    assert sum(plain["by_kind"].values()) == pytest.approx(plain["probability"], abs=1e-3)


def test_what_no_judge_heard_is_judged_by_rules():
    texts = [f"word number {'abcdefghij'[i % 10]}{'klmno'[i // 10]} said here" for i in range(49)] + ["…"]
    clips = [Clip(id=str(i), text=text, duration=2.0) for i, text in enumerate(texts)]
    judge = {str(i): Judged(heard=texts[i]) for i in range(48)}
    spoiled = {clip.id: Planter(texts, "word").spoil(clip.id, clip.text) for clip in clips}
    diagnosis = diagnose(clips, {"judge": judge}, spoiled, TextPool(texts, BASIC))
    verdicts = {verdict.clip.id: verdict for verdict in diagnosis.verdicts}
    assert verdicts["49"].kind == "rule"
    assert verdicts["49"].is_suspect
    assert not verdicts["48"].is_suspect


def test_impossible_questions():
    clips = [Clip(id="a", text="one", duration=1.0)]
    pool = TextPool(["one"], BASIC)
    with pytest.raises(UsageError, match=r"at most 0\.5"):
        diagnose(clips, {"j": {}}, {}, pool, false_alarms=0.9)
    with pytest.raises(UsageError, match="give a model"):
        diagnose(clips, {}, {}, pool)
    with pytest.raises(DataError, match="at least 40"):
        diagnose(clips, {"j": {"a": Judged(heard="one")}}, {}, pool)
