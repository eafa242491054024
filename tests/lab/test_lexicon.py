import itertools
from collections import Counter
from random import Random

import pytest

from asr_headroom.errors import ConfigError
from asr_headroom.lab.lexicon import LANGUAGES, make_sentence, split_of_text
from asr_headroom.text.normalize import normalizer_for_language


@pytest.mark.parametrize("language", LANGUAGES)
def test_sentences_are_a_function_of_the_generator(language):
    first, second = Random(5), Random(5)
    texts = [make_sentence(language, first) for _ in range(50)]
    assert texts == [make_sentence(language, second) for _ in range(50)]
    assert len(set(texts)) > 40


@pytest.mark.parametrize("language", LANGUAGES)
def test_normalising_changes_nothing_so_no_error_is_one_of_format(language):
    normalize = normalizer_for_language(language)
    random = Random(0)
    for _ in range(500):
        text = make_sentence(language, random)
        assert normalize(text) == text


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_sentence_is_in_two_splits(language):
    random = Random(1)
    texts = {split: {make_sentence(language, random, split) for _ in range(300)} for split in ("train", "dev", "test")}
    assert not texts["train"] & texts["test"]
    assert not texts["train"] & texts["dev"]
    assert not texts["dev"] & texts["test"]


def test_shares_of_the_splits():
    random = Random(2)
    counts = Counter(split_of_text(text) for text in {make_sentence("fr", random) for _ in range(6000)})
    total = sum(counts.values())
    assert counts["test"] / total == pytest.approx(0.15, abs=0.02)
    assert counts["dev"] / total == pytest.approx(0.05, abs=0.015)


def test_french_elides_before_vowels():
    random = Random(3)
    words = [make_sentence("fr", random).split() for _ in range(3000)]
    pairs = {pair for sentence in words for pair in itertools.pairwise(sentence)}
    assert not [pair for pair in pairs if pair[0] in ("le", "la") and pair[1][0] in "aeiouéèêî"]
    assert any(word.startswith("l'é") for sentence in words for word in sentence)


def test_unknown_language_suggests():
    with pytest.raises(ConfigError, match="there are: fr, zh, en"):
        make_sentence("de", Random(0))
