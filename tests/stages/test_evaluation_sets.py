"""What the guard compares on: times come in where a family gives any, and a real one gives usable ones."""

from __future__ import annotations

from dataclasses import replace

import pytest

from asr_headroom.metrics.error_rate import ErrorCounts
from asr_headroom.stages.evaluation_sets import guard_sets, measure_in_batches
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_whisper
from asr_headroom.testing.tiny.parakeet_tdt import tiny_parakeet_tdt
from asr_headroom.text.normalize import get_normalizer
from asr_headroom.train.guard import EvaluationSet

SPEECH = [replace(tone_utterance("abcab"), id=str(i), language="en") for i in range(50)]
DEV = EvaluationSet(name="dev", role="target", utterances=SPEECH, normalizer=get_normalizer("en"))


@pytest.mark.parametrize(
    ("make", "roles"),
    [
        (tiny_whisper, ["target", "guard", "nonspeech"]),
        (tiny_parakeet_tdt, ["target", "guard", "timestamps", "nonspeech"]),
    ],
)
def test_roles(make, roles):
    other = replace(DEV, name="other", role="guard")
    sets = guard_sets(make(), DEV, [other], chose_the_step=45)
    assert [one.role for one in sets] == roles
    assert [utterance.id for utterance in sets[0].utterances[:5]] == ["45", "46", "47", "48", "49"]
    for timed in sets:
        if timed.role == "timestamps":
            assert timed.utterances == sets[0].utterances[:40]


def test_times_of_a_real_family_are_usable():
    timed = replace(DEV, role="timestamps", utterances=SPEECH[:3])
    assert measure_in_batches(2)(tiny_parakeet_tdt(), timed) == [ErrorCounts(hits=1)] * 3
