"""Settings: what contradicts itself is refused, all of it at once."""

from __future__ import annotations

import pytest

from asr_headroom.errors import ConfigError
from asr_headroom.rl.config import RewardConfig, RlConfig


def test_default_clips():
    assert RlConfig(algorithm="gspo").clip == (3e-4, 4e-4)
    assert RlConfig(algorithm="grpo", clip_high=0.3).clip == (0.2, 0.3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"algorithm": "gspo", "nbest": "beam"}, "were not drawn|that were not drawn"),
        ({"algorithm": "rloo", "greedy_in_slot_0": True}, "greedy_in_slot_0"),
        ({"algorithm": "grpo", "reference_in_list": True}, "only mwer takes them"),
        ({"algorithm": "gspo", "length_normalized": True}, "of mwer"),
        ({"algorithm": "mwer", "clip_low": 0.1}, "no ratio to clip"),
        ({"algorithm": "mwer", "sync_steps": 4}, "no old policy"),
        ({"algorithm": "gspo", "sync_steps": 3, "updates_per_rollout": 2}, "multiple of"),
        ({"algorithm": "gspo", "sync_steps": 2, "old_log_probs": "scored"}, "older policy"),
        ({"nbest": "beam", "greedy_in_slot_0": True}, "better than greedy"),
        ({"nbest": "beam", "min_entropy": 0.1}, "draws none"),
        ({"nbest": "diverse-beam", "algorithm": "gspo"}, "nbest diverse-beam puts"),
        ({"num_beam_groups": 2}, "take nbest diverse-beam"),
        ({"nbest": "diverse-beam", "num_beam_groups": 3}, "multiple of num_beam_groups, 3"),
        ({"nbest": "diverse-beam", "num_beam_groups": 1}, "at least 2, or take nbest beam"),
        ({"nbest": "diverse-beam", "diversity_penalty": -1.0}, "diversity_penalty is -1.0"),
        ({"num_rollouts": 1}, "at least 2"),
        ({"temperature": 0.0}, "above 0"),
        ({"top_p": 1.5}, r"in \(0, 1\]"),
        ({"cross_entropy": -1.0}, "at least 0"),
        ({"language_weights": ("fr",)}, "language=weight"),
        ({"language_weights": ("fr-FR=1", "fr-CA=2")}, "'fr' twice"),
        ({"keep_encodings_gb": -1.0}, "at least 0"),
    ],
    ids=str,
)
def test_contradictions_are_refused(changes, words):
    with pytest.raises(ConfigError, match=words):
        RlConfig(**changes)


def test_each_hypothesis_is_a_group_of_its_own_unless_told():
    assert RlConfig(num_rollouts=6).beam_groups.count == RlConfig(nbest="beam").beam_groups.count == 1
    alone = RlConfig(nbest="diverse-beam", num_rollouts=6).beam_groups
    assert (alone.count, alone.penalty) == (6, 0.5)
    pairs = RlConfig(nbest="diverse-beam", num_rollouts=6, num_beam_groups=3, diversity_penalty=0.8).beam_groups
    assert (pairs.count, pairs.penalty) == (3, 0.8)


def test_all_problems_are_told_at_once():
    with pytest.raises(ConfigError) as caught:
        RlConfig(num_rollouts=0, top_k=-1, temperature=-1.0)
    assert len(str(caught.value).splitlines()) == 3


def test_a_reward_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="nothing to learn"):
        RewardConfig(errors=0.0)
    with pytest.raises(ConfigError, match=r"reward\.loop"):
        RewardConfig(loop=-1.0)


def test_weights_by_language():
    """A region's weight is its language's: utterances are looked up by the language alone."""
    assert RlConfig(language_weights=("fr=1", "zh-CN=0.5")).weights_by_language() == {"fr": 1.0, "zh": 0.5}
