"""What the guard compares on: usable times and long recordings, where a family gives or hears any."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from dataclasses import replace

import pytest

from asr_headroom.data.manifest import Utterance
from asr_headroom.metrics.error_rate import ErrorCounts
from asr_headroom.models.decoding import GREEDY, DecodingOptions, Hypothesis
from asr_headroom.stages.evaluation_sets import guard_sets, measure_in_batches
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_whisper
from asr_headroom.testing.tiny.moonshine import tiny_moonshine
from asr_headroom.testing.tiny.parakeet_tdt import tiny_parakeet_tdt
from asr_headroom.testing.tiny.wav2vec2_ctc import tiny_wav2vec2_ctc
from asr_headroom.text.normalize import get_normalizer
from asr_headroom.train.guard import EvaluationSet, MeasuredSet, choose_point

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


LONG_DEV = replace(
    DEV,
    utterances=[
        replace(SPEECH[0], id=str(i), text="".join(letters), duration=9.0)
        for i, letters in enumerate(itertools.product("abc", repeat=5))
    ][:100],
)


class StopsEarly:
    """Writes what it is told of a recording, or of a joined one the first utterance alone."""

    card = tiny_wav2vec2_ctc().card

    def __init__(self, share: float) -> None:
        self._share = share
        self.batches: list[tuple[int, DecodingOptions]] = []

    def transcribe(self, batch: Sequence[Utterance], options: DecodingOptions = GREEDY) -> list[Hypothesis]:
        self.batches.append((len(batch), options))
        words = [utterance.text.split() for utterance in batch]
        return [Hypothesis(text=" ".join(said[: max(1, round(self._share * len(said)))])) for said in words]

    def batch_key(self, utterance: Utterance) -> None:
        return None

    def decoding_state(self) -> dict[str, str]:
        return {}


@pytest.mark.parametrize("make", [tiny_wav2vec2_ctc, tiny_parakeet_tdt, tiny_moonshine])
def test_long_recordings_where_the_family_hears_them(make):
    model = make()
    sets = {one.role: one for one in guard_sets(model, LONG_DEV, [], chose_the_step=45, long_form=8)}
    joined = sets["long-form"]
    assert len(joined.utterances) == 8
    assert joined.first(2) == joined, "made recordings stay whole"
    assert joined.clustering.num_clusters == 8
    assert all(model.check_target(utterance) is None for utterance in joined.utterances)
    assert joined.utterances[0].extras["parts"] == [u.id for u in sets["target"].utterances[:5]]
    assert "long-form" not in {one.role for one in guard_sets(model, LONG_DEV, [], chose_the_step=45)}


@pytest.mark.parametrize(
    ("make", "dev", "said"),
    [
        (tiny_whisper, LONG_DEV, "hears 3 s at once and refuses longer"),
        (tiny_wav2vec2_ctc, DEV, "dev makes 2 that the model takes and 6 are needed"),
    ],
)
def test_no_long_recordings_is_said(make, dev, said, caplog):
    with caplog.at_level(logging.INFO, logger="asr_headroom"):
        sets = guard_sets(make(), dev, [], chose_the_step=0, long_form=8)
    assert "long-form" not in {one.role for one in sets}
    assert said in caplog.text


def test_a_model_that_stops_after_the_first_sentence_is_caught_on_long_recordings_alone():
    dev, joined, _ = guard_sets(tiny_wav2vec2_ctc(), LONG_DEV, [], chose_the_step=0, long_form=12)
    base, tuned = StopsEarly(1.0), StopsEarly(0.2)
    measure = measure_in_batches(16)
    on_joined = {0.0: measure(base, joined), 1.0: measure(tuned, joined)}
    assert on_joined[0.0] == [ErrorCounts(hits=5)] * 12
    assert on_joined[1.0] == [ErrorCounts(hits=1, deletions=4)] * 12
    assert {(rows, options.max_new_tokens) for rows, options in tuned.batches} == {(2, 600)}, "a minute is as long as 8"
    # On single sentences it is perfect, and the base is wrong every second time.
    right, wrong = ErrorCounts(hits=1), ErrorCounts(substitutions=1)
    on_dev = {0.0: [right, wrong] * 50, 1.0: measure(tuned, dev)}
    measured = [MeasuredSet(dev, on_dev), MeasuredSet(joined, on_joined)]
    assert choose_point([1.0], measured[:1])[0] == 1.0
    chosen, reason = choose_point([1.0], measured)
    assert chosen == 0.0
    assert "long recordings gets worse by 80.00 points" in reason
