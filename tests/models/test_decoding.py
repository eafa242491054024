"""The loop guard and the decoding options."""

from __future__ import annotations

import pytest

from asr_headroom.errors import ConfigError
from asr_headroom.models.decoding import DecodingOptions, LoopGuard

GUARD = LoopGuard()


@pytest.mark.parametrize("period", [1, 2, 3, 7, 12])
def test_finds_a_loop_of_each_period(period):
    pattern = list(range(100, 100 + period))
    text = [1, 2, 3] + pattern * max(4, -(-16 // period))
    assert GUARD.period(text) == period
    assert GUARD.cut(text, period) == [1, 2, 3, *pattern]


@pytest.mark.parametrize(
    "tokens",
    [[], [1], [5] * 15, [1, 2] * 7, list(range(60)), [*([1, 2, 3] * 10), 9], list(range(13)) * 4],
    ids=["empty", "one", "short run", "few tokens", "no repeat", "loop left again", "period too long"],
)
def test_leaves_the_rest_alone(tokens):
    assert GUARD.period(tokens) is None


def test_a_laugh_is_no_loop_but_a_stuck_decoder_is():
    laugh, stuck = [7, 8] * 4, [7, 8] * 8
    assert GUARD.period(laugh) is None
    assert GUARD.period(stuck) == 2


def test_cut_removes_a_partial_repetition_too():
    tokens = [1, 2, 3] * 6 + [1, 2]
    assert GUARD.period(tokens) == 3
    assert GUARD.cut(tokens, 3) == [1, 2, 3]


def test_bad_options_are_named():
    with pytest.raises(ConfigError, match="beam_size is 0"):
        DecodingOptions(beam_size=0)
    with pytest.raises(ConfigError, match="max_new_tokens is -1"):
        DecodingOptions(max_new_tokens=-1)
    with pytest.raises(ConfigError, match="repeats >= 2"):
        LoopGuard(repeats=1)
