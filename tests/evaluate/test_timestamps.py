"""Times of hypotheses: which can be used, and how a guard set counts those that cannot."""

from __future__ import annotations

from dataclasses import replace

import pytest

from asr_headroom.evaluate.timestamps import count_unusable_times, has_usable_times
from asr_headroom.metrics.error_rate import ErrorCounts
from asr_headroom.models.decoding import GREEDY, Hypothesis, Segment
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_whisper
from asr_headroom.text.normalize import get_normalizer
from asr_headroom.train.guard import EvaluationSet, MeasuredSet, choose_point


@pytest.mark.parametrize(
    ("segments", "usable"),
    [
        ([(0.0, 0.4, "a"), (0.4, 1.0, "b")], True),
        ([(0.0, 0.4, "a"), (0.2, 1.0, "b")], True),  # words may overlap
        ([(0.0, 1.1, "a")], True),  # a frame longer than the recording
        ([(0.0, 1.5, "a")], False),
        ([(0.5, 0.4, "a")], False),
        ([(0.5, 0.6, "a"), (0.1, 0.2, "b")], False),
        ([(-0.1, 0.2, "a")], False),
        ([(0.0, 0.2, " ")], False),
        ([], False),
    ],
)
def test_times_are_in_order_inside_and_of_something(segments, usable):
    hypothesis = Hypothesis(text="a b", segments=tuple(Segment(*segment) for segment in segments))
    assert has_usable_times(hypothesis, 1.0) == usable


def test_nothing_said_needs_no_times():
    assert has_usable_times(Hypothesis(text=" "), 1.0)


def test_each_utterance_counts_once_in_the_order_of_the_set():
    speech = [tone_utterance(text, id=text) for text in ("abcabcabc", "a", "bad", "ab")]
    model = tiny_whisper(window="fit")

    def transcribe(batch, options=GREEDY):
        """Times for those that begin with an a."""
        return [
            Hypothesis(text=u.text, segments=(Segment(0.0, 0.1, u.text),) if u.text[0] == "a" else ()) for u in batch
        ]

    model.transcribe = transcribe
    good, bad = ErrorCounts(hits=1), ErrorCounts(substitutions=1)
    assert count_unusable_times(model, speech, GREEDY, batch_size=2) == [good, good, bad, good]


@pytest.mark.parametrize(("lost", "alpha"), [(0, 1.0), (1, 1.0), (12, 0.0)])
def test_lost_times_veto_a_gain(lost, alpha):
    speech = [replace(tone_utterance("ab"), id=str(i), text=f"ab{i}") for i in range(40)]
    dev = EvaluationSet(name="dev", role="target", utterances=speech, normalizer=get_normalizer("basic"))
    timed = replace(dev, name="timestamps", role="timestamps")
    usable, not_usable = ErrorCounts(hits=1), ErrorCounts(substitutions=1)
    gain = MeasuredSet(dev, {0.0: [not_usable] * 40, 1.0: [usable] * 40})
    times = MeasuredSet(timed, {0.0: [usable] * 40, 1.0: [not_usable] * lost + [usable] * (40 - lost)})
    chosen, reason = choose_point([1.0], [gain, times], margin=0.5)
    assert chosen == alpha
    assert ("timestamps gets worse by 30.00 points" in reason) == (alpha == 0)
