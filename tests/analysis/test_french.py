import doctest

import pytest

from asr_headroom.analysis import french
from asr_headroom.analysis.french import are_homophones, are_inflections, differ_by_elision, phonetic_keys


def test_examples():
    assert doctest.testmod(french).failed == 0


@pytest.mark.parametrize(
    ("reference", "hypothesis"),
    [
        ("manger", "mangé"),
        ("mangez", "mangeait"),
        ("ou", "où"),
        ("a", "à"),
        ("ses", "ces"),
        ("c'est", "ces"),
        ("sait", "c'est"),
        ("acérées", "asserrées"),
        ("croisait", "croisaient"),
        ("mot", "maux"),
        ("eau", "haut"),
        ("vin", "vingt"),
        ("saint", "sein"),
        ("champ", "chant"),
        ("philosophie", "filosofi"),
        ("nation", "nassion"),
        ("la faso", "lafaso"),
        ("du crabe", "ducrabe"),
        ("content", "contant"),
        ("ils parlent", "il parle"),
        ("quand", "camp"),
        ("guerre", "gaire"),
        ("fille", "filles"),
        ("créer", "créé"),
    ],
)
def test_sounds_alike(reference, hypothesis):
    assert are_homophones(reference.split(), hypothesis.split())


@pytest.mark.parametrize(
    ("reference", "hypothesis"),
    [
        ("un", "on"),
        ("le", "les"),
        ("marche", "marché"),
        ("poisson", "poison"),
        ("dessert", "désert"),
        ("vous", "vu"),
        ("cas", "gars"),
        ("vent", "vont"),
        ("amer", "aimé"),
        ("bonne", "bon"),
        ("ancien", "ancienne"),
        ("oui", "ouïe l"),
        ("hiver", "hivé"),
        ("deux", "de"),
    ],
)
def test_sounds_otherwise(reference, hypothesis):
    assert not are_homophones(reference.split(), hypothesis.split())


def test_nothing_sounds_like_nothing():
    assert not are_homophones([""], [""])
    assert not are_homophones(["!"], ["?"])


def test_every_word_has_a_key():
    for word in ("", "hmm", "x", "ghz", "30", "qu'", "l'", "œuf", "NaÏf", "日本"):
        assert phonetic_keys(word), word


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("ami", "amis"),
        ("chers", "chères"),
        ("tués", "tuées"),
        ("national", "nationaux"),
        ("actif", "actives"),
        ("heureux", "heureuse"),
        ("un", "une"),
        ("leur", "leurs"),
        ("ce", "cette"),
        ("pouvait", "pouvaient"),
        ("d'album", "d'albums"),
        ("ancien", "ancienne"),
    ],
)
def test_agreement(left, right):
    assert are_inflections(left, right)
    assert are_inflections(right, left)


@pytest.mark.parametrize(
    ("left", "right"),
    [("manger", "mangé"), ("phase", "face"), ("état", "états-unis"), ("os", "o"), ("parc", "parque"), ("ami", "ami")],
)
def test_no_agreement(left, right):
    assert not are_inflections(left, right)


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ("l'honneur", "honneur", True),
        ("d'europe", "l'europe", True),
        ("que il", "qu'il", True),
        ("qu' une", "qu'une", True),
        ("jai", "j'ai", True),
        ("l'ami", "la vie", False),
        ("chat", "chat", False),
        ("", "l'", False),
        ("delpotro", "del potro", False),
    ],
)
def test_elision(left, right, expected):
    assert differ_by_elision(left, right) is expected
    assert differ_by_elision(right, left) is expected
