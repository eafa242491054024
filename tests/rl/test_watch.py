"""What a step's log and record say, against counts by hand."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from asr_headroom.models.decoding import Hypothesis
from asr_headroom.rl.losses import ScoredSums
from asr_headroom.rl.record import RolloutRecord
from asr_headroom.rl.rollout import collapse_equal
from asr_headroom.rl.watch import Watch

GREEDY = Hypothesis(text="a", token_ids=(1,))
DRAWN = Hypothesis(text="a", token_ids=(1,), token_log_probs=(-0.5, -0.25))
OTHER = Hypothesis(text="b c", token_ids=(2, 3), token_log_probs=(-1.0, -2.0), truncated=True)
REFERENCE = Hypothesis(text="c", token_ids=(3,))


def judged(hypotheses):
    group = collapse_equal(hypotheses)
    errors = {"a": 1, "b c": 2, "c": 0}
    wrong = tuple(errors[hypothesis.text] for hypothesis in group.hypotheses)
    return replace(group, errors=wrong, rewards=tuple(-count / 2 for count in wrong), reference_length=2)


def watched(hypotheses, slot_0):
    watch = Watch()
    watch.add([judged(hypotheses)], ScoredSums(), slot_0=slot_0)
    return watch


def test_entropy_is_that_of_the_draws_alone():
    """The greedy hypothesis and the reference share a place with draws, and were not drawn themselves."""
    watch = watched([GREEDY, DRAWN, OTHER, DRAWN, REFERENCE], slot_0=True)
    assert (watch.draws, watch.unique, watch.truncated) == (5, 3, 1)
    assert watch.tokens == 2 * 2 + 2
    assert watch.nats == pytest.approx(2 * 0.75 + 3.0)
    assert watch.entropy == pytest.approx(4.5 / 6)
    assert watch.top_errors == 1
    assert watch.means()["oracle"] == (0, 2)
    assert watch.means()["error"] == (1 + 1 + 1 + 2, 10)


def test_the_kept_one_of_equals_is_the_one_with_log_probabilities():
    group = collapse_equal([GREEDY, OTHER, DRAWN])
    assert group.hypotheses == (DRAWN, OTHER)
    assert (group.multiplicity, group.drawn) == ((2, 1), (1, 1))


def test_the_likeliest_draw_is_on_top_where_none_is_greedy():
    assert watched([OTHER, DRAWN, REFERENCE], slot_0=False).top_errors == 1


def test_lists_that_were_searched_have_no_entropy():
    watch = watched([GREEDY, REFERENCE], slot_0=True)
    assert watch.entropy is None
    assert "entropy" not in watch.means()


def test_a_line_separator_inside_a_hypothesis_ends_no_line(tmp_path):
    """A resumed run would take the two halves for lines that a kill cut short, and drop the step."""
    separated = judged([replace(DRAWN, text="a"), OTHER])
    separated = replace(separated, hypotheses=(replace(DRAWN, text="a\u2028b\x85c"), OTHER))
    for step in (0, 1):  # the second is that of a resumed run
        RolloutRecord(tmp_path / "rollouts.jsonl").write(step, {}, [("one", separated)])
    rows = [json.loads(line) for line in (tmp_path / "rollouts.jsonl").read_text(encoding="utf-8").strip().split("\n")]
    assert [row["step"] for row in rows] == [0, 1]
