"""Truth is the transformers library's copy of Whisper's rules."""

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import asr_headroom.text.english as english
from asr_headroom.text.normalize import get_normalizer

WORDS = (
    "one two three eleven twenty thirty hundred thousand million zero oh o first third twelfth sixes twenties fortieth "
    "hundreds millionth minus plus dollars cents pounds per percent cent and point double triple and-a-half a half the "
    "colour travelling centre can't won't it's he'd been they've o'clock mr. dr's st. rock 'n' 1 10 3.5 $5 2,000 20% "
    "1960s 3rd 21 st ¢7 $0.05 uh hmm (aside) [noise] <unk> naïve œuvre straße 007 . % $ -5 v2 he's got ma'am gonna"
)


@pytest.fixture(scope="module")
def whisper():
    module = pytest.importorskip("transformers.models.whisper.english_normalizer")
    spelling = json.loads(Path(english.__file__).with_name("english_spelling.json").read_text(encoding="utf-8"))
    return module.EnglishTextNormalizer(spelling)


def test_agrees_with_whisper_on_thousands_of_sentences(whisper):
    draw, ours = random.Random(7), get_normalizer("whisper-en")
    for _ in range(6000):
        text = " ".join(draw.choices(WORDS.split(), k=draw.randint(1, 8)))
        assert ours(text) == whisper(text).strip(), text


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=30))
def test_agrees_with_whisper_on_anything(whisper, text):
    assert get_normalizer("whisper-en")(text).split() == whisper(text).split()


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("Mr. Smith's colour won't cost $25", "mister smith is color will not cost $25"),
        ("twenty-five dollars and fifty cents", "$25.50"),
        ("one oh one, the nineteen sixties; the twenty first", "101 the 1960s the 21st"),
        ("two and a half million (people)", "2500000"),
        ("five percent of one", "5% of one"),
        ("I don’t know", "i do not know"),
        ("Uh, I'm um fine", "i am fine"),
        ("ten 1", "11"),
    ],
)
def test_worked_by_hand(raw, expected):
    assert get_normalizer("en")(raw) == expected


def test_equals_whisper_where_whisper_is_stable(whisper):
    draw, ours, stable = random.Random(8), get_normalizer("en"), 0
    for _ in range(1500):
        text = " ".join(draw.choices(WORDS.split(), k=draw.randint(1, 8)))
        once = whisper(text)
        if whisper(once).split() == once.split():
            stable += 1
            assert ours(text) == once.strip()
    assert stable > 750


def test_endless_digits_do_not_break_it():
    # Python refuses integers of more than 4,300 digits; a looping recogniser writes them.
    for text in (
        "5" * 5000,
        "one " * 5000 + "million",
        "point " + "five " * 6000 + "thousand",
        "0" * 5000 + " dollars",
    ):
        assert get_normalizer("en")(text)
