"""Rewards: they agree with the report on every pair of texts, weigh what they are told to, and clean no text."""

from __future__ import annotations

import pytest

from asr_headroom.data.manifest import Utterance
from asr_headroom.metrics.error_rate import count_pair
from asr_headroom.metrics.keywords import Keywords, count_keywords
from asr_headroom.models.decoding import Hypothesis
from asr_headroom.rl.config import RewardConfig
from asr_headroom.rl.reward import Reward, keywords_by_rule, mean_reference_lengths
from asr_headroom.text.normalize import get_normalizer, normalizer_for_language


def utterance(text, language="fr"):
    return Utterance(id=text, audio=b"", text=text, language=language)


def judged(config, reference, *texts, language="fr", **options):
    reward = Reward(config, normalizer_for_language, **options)
    return reward.judge(utterance(reference, language), [Hypothesis(text=text) for text in texts])


PAIRS = [
    ("L’été s’achève à Nîmes.", "l'été s'achève a nimes", "fr"),
    ("Il a dit « non » 3 fois", "il a dit non trois fois de trop", "fr"),
    ("我们在北京。", "我門在背景", "zh"),
    ("我们在北京", "", "zh"),
    ("", "de trop", "fr"),
    ("the cat sat", "The cat, sat!", "en"),
]


@pytest.mark.parametrize(("reference", "hypothesis", "language"), PAIRS)
def test_reward_and_report_agree_on_every_pair(reference, hypothesis, language):
    """Trap 27: typographic apostrophes and full-width marks were errors in the reward and none in the report."""
    (judgement,) = judged(RewardConfig(), reference, hypothesis, language=language)
    normalizer = normalizer_for_language(language)
    counts = count_pair(reference, hypothesis, normalizer).of(normalizer.unit)
    assert judgement.counts == counts
    assert judgement.reward == -counts.errors / max(1, counts.reference_length)


def test_languages_are_counted_in_their_own_units():
    reward = Reward(RewardConfig(), normalizer_for_language)
    (chinese,) = reward.judge(utterance("我们在北京", "zh-CN"), [Hypothesis(text="我们在背景")])
    (french,) = reward.judge(utterance("nous sommes à Paris", "fr"), [Hypothesis(text="nous sommes a Lyon")])
    assert (chinese.reward, french.reward) == (-2 / 5, -2 / 4)


def test_corpus_scale_weighs_an_error_alike_everywhere():
    texts = ["un", "un deux trois quatre cinq six sept"]
    lengths = mean_reference_lengths([utterance(text) for text in texts], normalizer_for_language)
    assert lengths == {"word": 4.0}
    config = RewardConfig(scale="corpus")
    assert judged(config, "un", "une", mean_lengths=lengths)[0].reward == -1 / 4
    assert judged(config, texts[1], "un deux trois quatre cinq six", mean_lengths=lengths)[0].reward == -1 / 4


def test_keywords_weigh_as_in_the_report():
    normalizer = get_normalizer("fr")
    keywords = Keywords([["paris"]])
    reference, hypotheses = "il va à Paris demain", ("il va à Pari demain", "il va a Paris demain")
    rows = judged(RewardConfig(keyword_weight=3.0), reference, *hypotheses, keywords={"fr": keywords})
    for row, hypothesis in zip(rows, hypotheses, strict=True):
        counts = count_keywords(normalizer(reference).split(), normalizer(hypothesis).split(), keywords, 3.0)
        assert row.reward == pytest.approx(-counts.weighted_error_rate)
        assert row.counts.errors == 1
    assert rows[0].reward == pytest.approx(3 * rows[1].reward)


def test_names_and_numbers_by_rule():
    basic = get_normalizer("basic")
    found = keywords_by_rule("Le TGV de Marie part à 8 h. Elle dit : « Bon voyage ! »", basic, ["names", "numbers"])
    assert found == [["tgv"], ["marie"], ["8"]]
    assert keywords_by_rule("I'm sure I met Ann", basic, ["names"]) == [["ann"]]
    assert keywords_by_rule("TOUT EN MAJUSCULES", basic, ["names"]) == []
    config = RewardConfig(keyword_rules=("names",), keyword_weight=4.0)
    right, wrong_name, wrong_verb = judged(config, "je vois Marie", "je vois Marie", "je vois Mario", "je bois Marie")
    rewards = [right.reward, wrong_name.reward, wrong_verb.reward]
    assert rewards == pytest.approx([0.0, -4 / 6, -1 / 6], abs=1e-8)


def test_rules_join_the_listed_keywords():
    config = RewardConfig(keyword_rules=("names",), keyword_weight=2.0)
    keywords = {"fr": Keywords([["vois"]])}
    (row,) = judged(config, "je vois Marie", "je bois Mario", keywords=keywords)
    assert row.reward == pytest.approx(-4 / 5)


def test_format_loops_switches_and_length():
    reward = Reward(RewardConfig(errors=0.0, format=0.1), normalizer_for_language)
    spoken, silence = utterance("bonjour"), utterance("")
    whole, cut, empty = (
        Hypothesis(text="bonjour"),
        Hypothesis(text="bonjour", truncated=True),
        Hypothesis(text=" …"),
    )
    assert [j.reward for j in reward.judge(spoken, [whole, cut, empty])] == [0.1, 0.0, 0.0]
    assert reward.judge(silence, [empty])[0].reward == 0.1
    loop = "et puis " * 8
    assert judged(RewardConfig(errors=0.0, loop=2.0), "et puis voilà", loop)[0].reward == -2.0
    english = "it is the best of the days that we had"
    switched = RewardConfig(errors=0.0, language_switch=1.5)
    assert judged(switched, "il fait beau", english)[0].reward == -1.5
    assert judged(switched, "il fait beau", "il fait chaud")[0].reward == 0.0
    length = RewardConfig(errors=0.0, length=1.0)
    assert judged(length, "un deux trois quatre", "un deux", "un deux trois cinq")[0].reward == -0.5
    assert judged(length, "un deux trois quatre", "un deux trois cinq")[0].reward == 0.0


def test_rewards_that_are_equal_on_paper_are_equal():
    """0.06 taken off for errors and 0.02 for length, or 0.08 for errors: the last bit's would be z-scored."""
    config = RewardConfig(errors=0.1, length=0.1)
    reference = "a b c d e f g h i j"
    longer, same_length = "a b c d e f x x x x x x", "a b x x x x x x x x"
    rewards = [judgement.reward for judgement in judged(config, reference, longer, same_length, language="en")]
    assert -0.1 * 0.6 - 0.1 * 0.2 != -0.1 * 0.8
    assert rewards == [-0.08, -0.08]
