"""Truth is num2words, another library's way from numbers to words."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_headroom.text.french_numbers import spell_number_symbols, write_numbers
from asr_headroom.text.normalize import get_normalizer

NUMBERS = [*range(2, 1200), *(random.Random(5).randrange(10 ** (3 + i % 9)) for i in range(1500))]

WORDS = (
    "un une deux dix vingt vingts quatre soixante cent cents mille million millions et pour zéro virgule "
    "deuxième unième h heures 1 2 300 000 0 22:00 3,5 % 1er xxe siècle € . 12"
)


def written(number):
    for scale, name in ((10**9, "milliards"), (10**6, "millions")):
        if number and number % scale == 0:
            return f"{number // scale} {name}"
    return str(number) if number != 1 else "un"


@pytest.mark.parametrize("country", ["fr", "fr_CH", "fr_BE"])
def test_reads_every_number_that_num2words_writes(country):
    num2words = pytest.importorskip("num2words").num2words
    for number in NUMBERS:
        assert write_numbers(num2words(number, lang=country).replace("-", " ")) == written(number)


def test_reads_ordinals():
    num2words = pytest.importorskip("num2words").num2words
    for number in range(2, 1000):
        said = num2words(number, lang="fr", to="ordinal").replace("-", " ")
        # The library writes "quatre-vingtsième", which nobody does.
        said = said.replace("vingtsième", "vingtième").replace("centsième", "centième")
        assert write_numbers(said) == f"{number}e"


@pytest.mark.parametrize(
    ("one", "other", "form"),
    [
        ("trente pour cent", "30 %", "30 pour cent"),
        ("cent pour cent", "100%", "100 pour cent"),
        ("vingt-deux heures", "22 h 00", "22 heures"),
        ("vingt-deux heures trente", "22h30", "22 heures 30"),
        ("vingt-deux heures trente", "22:30", "22 heures 30"),
        ("une heure quinze", "1 h 15", "une heure 15"),
        ("trois virgule cinq", "3,5", "3 virgule 5"),
        ("dix mille", "10 000", "10000"),
        ("dix mille", "10\u202f000", "10000"),
        ("quatre-vingt-dix-neuf", "99", "99"),
        ("nonante-neuf", "99", "99"),
        ("mille neuf cent quatre-vingt-quatre", "1984", "1984"),
        ("dix-neuf cent quatre-vingt-quatre", "1984", "1984"),
        ("trois millions cinq cent mille", "3 500 000", "3500000"),
        ("trois millions d'habitants", "3 000 000 d'habitants", "3 millions d'habitants"),
        ("vingtième siècle", "XXe siècle", "20e siècle"),
        ("dix-neuvième", "19ème", "19e"),
        ("premier", "1er", "premier"),
        ("chapitre un", "chapitre 1", "chapitre un"),
        ("deux mille vingt-quatre", "2024", "2024"),
        ("deux cents euros", "200 €", "200 euros"),
    ],
)
def test_two_ways_to_write_one_number(one, other, form):
    digits = get_normalizer("fr-digits")
    assert digits(one) == digits(other) == form


@pytest.mark.parametrize(
    "text",
    ["une fois un chat", "pour l'été", "des millions de gens", "à la une", "la seconde guerre", "un mille-feuille"],
)
def test_what_is_no_number_stays(text):
    words = get_normalizer("fr")(text)
    assert get_normalizer("fr-digits")(text).replace("1000", "mille") == words


def test_two_numbers_do_not_become_one():
    assert get_normalizer("fr-digits")("deux, trois cents") == "2 trois cents"
    assert get_normalizer("fr-digits")("deux ou trois cents") == "2 ou 300"
    assert get_normalizer("fr-digits")("mille mille") == "1000 1000"
    assert get_normalizer("fr-digits")("cent cent") == "100 cent"
    assert get_normalizer("fr-digits")("vingt trente") == "20 30"
    assert get_normalizer("fr-digits")("trois millions deux millions") == "3 millions 2 millions"


def test_clock_only_where_it_is_one():
    assert spell_number_symbols("100 km/h") == "100 km/h"
    assert spell_number_symbols("24:60") == "24:60"


@settings(max_examples=400, deadline=None)
@given(
    st.lists(
        st.sampled_from(WORDS.split()),
        max_size=7,
    ),
    st.sampled_from([" ", "-", "", ", "]),
)
def test_idempotent_on_numbers(words, joint):
    digits = get_normalizer("fr-digits")
    once = digits(joint.join(words))
    assert digits(once) == once
