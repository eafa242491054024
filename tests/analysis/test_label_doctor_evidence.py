"""Each column of the evidence means what its name says; speakers do not count against their own transcripts."""

from __future__ import annotations

import math

import numpy as np
import pytest

from asr_headroom.analysis.label_doctor_evidence import Clip, Judged, ScoredText, TextPool, evidence_of, rate_of
from asr_headroom.text.normalize import get_normalizer

BASIC = get_normalizer("basic")
TEXTS = ["the cat sat on a mat", "dogs run home", "birds sing loudly at dawn", "we went there by train"]


def scored(text, *values):
    return ScoredText(text=text, token_log_probs=values, num_tokens=len(values) - 1)


def table(clips, judged, spoiled=None):
    names, matrices = evidence_of(clips, [judged], spoiled or {}, TextPool(TEXTS, BASIC))
    return {variant: dict(zip(names, matrix.T, strict=True)) for variant, matrix in matrices.items()}


def clips_of(texts, **facts):
    return [Clip(id=str(i), text=text, duration=2.0, **facts) for i, text in enumerate(texts)]


def test_scores_compare_with_what_was_heard_and_with_other_transcripts():
    clips = clips_of(TEXTS[:2])
    judged = {
        "0": Judged(
            heard=TEXTS[0],
            heard_scored=scored(TEXTS[0], -1.0, -1.0, -0.5),
            given=scored(TEXTS[0], -1.0, -3.0, -0.5),
            rivals=[scored(TEXTS[1], -4.0, -4.0, -1.0)],
            strangers=[scored(TEXTS[2], -5.0, -6.0, -1.0)],
            elsewhere={"given": scored(TEXTS[0], -4.0, -3.5, -0.7)},
        ),
        "1": Judged(
            heard="birds sing",
            heard_scored=scored("birds sing", -0.5, -0.1),
            given=scored(TEXTS[1], -20.0, -2.0, -0.1),
            rivals=[scored(TEXTS[2], -1.0, -1.0, -0.1)],
            strangers=[scored(TEXTS[3], -6.0, -6.0, -6.0)],
            elsewhere={"given": scored(TEXTS[1], -20.0, -1.0, -0.1)},
        ),
    }
    given = table(clips, judged)[None]
    assert given["loss"] == pytest.approx([4.5 / 3, 14.1 / 3])  # one token is no worse than the floor of -12
    assert given["gap"] == pytest.approx([2 / 3, (14.1 - 0.6) / 3])
    assert given["rival"] == pytest.approx([math.asinh(4.5), math.asinh(2.1 - 14.1)])
    assert given["stranger"] == pytest.approx([4.0 - 1.5, 6.0 - 4.7])
    assert given["end"] == pytest.approx([-0.5, -0.1])
    assert given["worst"] == pytest.approx([-3.0, -12.0])
    assert given["told"] == pytest.approx([(3.0 + 0.5) / 2, (0.0 - 1.0) / 2])
    assert given["told_least"] == pytest.approx([0.5, -1.0])
    assert given["closest"][0] > 0 > given["closest"][1]  # the second sounds like another clip's transcript


def test_length_columns_of_a_cut_transcript():
    clips = clips_of(TEXTS[:2])
    judged = {"0": Judged(heard=TEXTS[0] + " today"), "1": Judged(heard=TEXTS[1])}
    spoiled = {"0": {"truncated": "the cat sat"}, "1": {"truncated": "dogs run"}}
    found = table(clips, judged, spoiled)
    assert found[None]["tail_heard"] == pytest.approx([math.log(2), 0])
    assert found["truncated"]["tail_heard"] == pytest.approx([math.log(5), math.log(2)])
    assert found["truncated"]["rate"] == pytest.approx([math.log(9 / 2), math.log(7 / 2)])
    assert (found["truncated"]["more_heard"] > found[None]["more_heard"]).all()


def test_a_swapped_transcript_competes_with_the_right_one():
    clips = clips_of(TEXTS)
    judged = {clip.id: Judged(heard=clip.text) for clip in clips}
    spoiled = {clip.id: {"swapped": TEXTS[int(clip.id) - 1]} for clip in clips}
    found = table(clips, judged, spoiled)
    assert (found[None]["closest"] > 0.3).all()
    assert (found["swapped"]["closest"] < -0.3).all()


def test_what_no_judge_hears_counts_once_there_are_several():
    clips = clips_of(TEXTS[:2])
    first = {"0": Judged(heard="the cat sat"), "1": Judged(heard="dogs run far")}
    second = {"0": Judged(heard="on a mat"), "1": Judged(heard="dogs ran off")}
    names, matrices = evidence_of(clips, [first, second], {}, TextPool(TEXTS, BASIC))
    assert matrices[None][:, names.index("unheard")] == pytest.approx([0, 1 / 3])
    assert "unheard" not in evidence_of(clips, [first], {}, TextPool(TEXTS, BASIC))[0]


def test_a_speaker_who_is_hard_to_understand_is_no_suspect_for_it():
    texts = [f"{a} {b} {c}" for a in ("one", "two") for b in ("three", "four") for c in ("five", "six", "ten")]
    mumbler = clips_of(texts, speaker="m")
    clear = [Clip(id=f"c{i}", text=text, duration=2.0, speaker="c") for i, text in enumerate(texts)]
    judged = {clip.id: Judged(heard="one or so" if clip.speaker == "m" else clip.text) for clip in mumbler + clear}
    names, matrices = evidence_of([*mumbler, *clear], [judged], {}, TextPool(texts, BASIC))
    errors = matrices[None][:, names.index("errors")]
    assert abs(np.median(errors[:12]) - np.median(errors[12:])) < 1e-9
    assert errors[:12].std() > 0  # differences within the speaker stay


def test_a_gap_is_filled_and_a_missing_kind_stays_missing():
    clips = clips_of(TEXTS)
    judged = {clip.id: Judged(heard=clip.text[:-2], given=scored(clip.text, -1.0, -2.0 - int(clip.id), -1.0),
                              heard_scored=scored(clip.text, -1.0, -1.0), elsewhere={}) for clip in clips}  # fmt: skip
    judged["0"] = Judged(heard=TEXTS[0], given=scored(TEXTS[0], -1.0, -9.0, -1.0),
                         heard_scored=scored(TEXTS[0], -1.0, -1.0),
                         elsewhere={"given": scored(TEXTS[0], -3.0, -5.0, -1.0)})  # fmt: skip
    found = table(clips, judged, {"0": {"truncated": "the cat"}})
    assert np.isfinite(np.array(list(found[None].values()))).all()
    assert np.isnan(found["truncated"]["errors"][1:]).all()


def test_scores_of_a_whole():
    whole = ScoredText(text="abc", token_log_probs=(-30.0,), num_tokens=3)
    assert not whole.is_tokenwise
    assert whole.total == -30.0
    assert whole.nats == 7.5


def test_rate_of_nothing_is_that_of_half_a_letter():
    assert rate_of("…", 2.0) == math.log(0.25)
    assert rate_of("ab 3", 1.0) == math.log(3)


def test_pool_answers_in_the_form_as_written():
    pool = TextPool(["The Cat!", "A dog."], BASIC)
    assert "the cat" in pool
    ((text, similarity),) = pool.closest("the cat", 1)
    assert (text, similarity) == ("The Cat!", 1.0)
    assert pool.closest("the cat", 2, without=["The Cat!"])[0][0] == "A dog."
