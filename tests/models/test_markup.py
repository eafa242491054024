"""What a tokenizer would take for an order is found in a transcript, and nothing else is."""

from __future__ import annotations

import dataclasses

import pytest

from asr_headroom.errors import DataError
from asr_headroom.models.markup import Markup
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_whisper
from asr_headroom.testing.tiny.qwen3_asr import tiny_qwen3_asr


def tokenizer_with(*words):
    tokenizer = tiny_whisper().processor.tokenizer
    tokenizer.add_tokens(list(words))
    return tokenizer


def test_marks_are_found_and_words_are_not():
    markup = Markup(tokenizer_with("covid", "<|0.02|>"))
    assert markup.problem("an <|en|> mark").startswith("spells '<|en|>'")
    assert markup.problem("<|0.02|> a time").startswith("spells '<|0.02|>'")
    for text in ("", "covid", "a < b > c", "<|xx|>", "[laughter]", "<unk>"):
        assert markup.problem(text) is None


def test_a_tokenizer_without_marks_has_no_problem():
    assert Markup(object()).problem("</s>") is None


@pytest.mark.parametrize(
    ("make", "text"), [(tiny_whisper, "a <|endoftext|> b"), (tiny_qwen3_asr, "language None<asr_text>a")]
)
def test_such_a_transcript_is_left_out_by_name_and_never_supervised(make, text):
    """Training reads the reason; whoever collates all the same is stopped."""
    model = make()
    utterance = dataclasses.replace(tone_utterance("abc"), text=text)
    assert "mark of the model" in model.check_target(utterance)
    with pytest.raises(DataError, match="mark of the model"):
        model.collate([utterance])
