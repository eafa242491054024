import itertools
import json

import pytest

from asr_headroom.analysis.suspects import find_suspects
from asr_headroom.errors import ResultsError, UsageError
from asr_headroom.testing.results import make_results
from asr_headroom.text.normalize import get_normalizer

FR = get_normalizer("fr")
REFERENCES = ["les colons britannique ont investit la ville", "il a dix chats", "un chien noir dort"]
HEARD = {
    "a": ["Les colons britanniques ont investi la ville.", "il a dix chats", "un chien dort"],
    "b": ["les colons britanniques ont investi la ville", "il a dix rats", "un chien noir mord"],
    "c": ["les colons britanniques ont investit la ville", "il a six rats", "un chien noir dort"],
}


def systems(heard=HEARD, references=REFERENCES, **families):
    return [
        make_results(list(zip(references, texts, strict=True)), name=name, model={"family": families.get(name, name)})
        for name, texts in heard.items()
    ]


def test_places_where_most_families_agree_ranked():
    places = find_suspects(systems(), FR).places
    assert [(p.before, p.reference, p.heard, p.after) for p in places] == [
        ("les colons", "britannique", "britanniques", "ont investit la"),
        ("colons britannique ont", "investit", "investi", "la ville"),
    ]
    assert [p.agreement for p in places] == [1, pytest.approx(2 / 3)]
    assert places[1].systems == ("a", "b")
    assert places[1].families_as_written == ("c",)


def test_what_differs_in_extent_is_not_the_same():
    """'dix chats' → 'six rats' holds 'chats' → 'rats', but says something else of the place."""
    places = find_suspects(systems(), FR, min_agreement=0).places
    assert ("chats", "rats") not in {(p.reference, p.heard) for p in places}


def test_systems_of_one_family_count_once():
    one_family = systems(a="w", b="w", c="w")
    with pytest.raises(UsageError, match="at least two known families, not 1"):
        find_suspects(one_family, FR)
    report = find_suspects(systems(a="w", b="w", c="x"), FR)
    assert [p.reference for p in report.places] == ["britannique"], "a and b alone agree on 'investi', one family"
    assert report.num_families == 2
    renamed = find_suspects(one_family, FR, families={"c": "x"})
    assert renamed.places == report.places


def test_family_from_the_hub_id_and_unknown_ones_make_no_agreement():
    texts = list(zip(REFERENCES, HEARD["a"], strict=True))
    ids = ["openai/whisper-small", "someone/whisper-tuned", "outputs/adapters/full_small", "full_small", "x/qwen3-asr"]
    runs = [make_results(texts, name=model_id, model={"id": model_id}) for model_id in ids]
    assert find_suspects(runs, FR).num_families == 2
    with pytest.raises(UsageError, match=r"not 1 \(unknown, whisper\)"):
        find_suspects(runs[:4], FR)


def test_readings_of_one_sentence_are_one_place():
    references = [REFERENCES[0]] * 3
    heard = {"a": [HEARD["a"][0]] * 2 + [REFERENCES[0]], "b": [HEARD["b"][0]] * 3}
    report = find_suspects(systems(heard, references), FR)
    assert [(p.ids, p.num_readings) for p in report.places] == [(("u0000", "u0001"), 3)] * 2
    assert report.num_suspect_utterances == 2


def test_shares_count_only_the_systems_that_agree():
    report = find_suspects(systems(), FR)
    shares = {share.name: (share.errors, share.suspect_errors) for share in report.shares}
    # a: britanniques, investi, -noir; b: the first two, rats, mord; c: britanniques, six, rats.
    assert shares == {"a": (3, 2), "b": (4, 2), "c": (3, 1)}
    for share, results in zip(report.shares, systems(), strict=True):
        assert share.errors == results.total(FR).errors
        assert share.reference_length == results.total(FR).reference_length
        assert share.points == share.suspect_errors / 15


def test_the_order_of_systems_does_not_matter():
    runs = systems()
    found = [find_suspects(order, FR) for order in itertools.permutations(runs)]
    keys = {tuple((p.reference, p.heard, p.agreement, p.families) for p in report.places) for report in found}
    assert len(keys) == 1


def test_insertions_and_deletions():
    references = ["il fut assassiné lors un rassemblement", "le le chat"]
    same = ["il fut assassiné lors de un rassemblement", "le chat"]
    report = find_suspects(systems({"a": same, "b": same}, references), FR)
    assert {(p.reference, p.heard) for p in report.places} == {("", "de"), ("le", "")}
    assert report.shares[0].suspect_errors == 2


def test_correct_systems_and_silence_have_no_suspects():
    report = find_suspects(systems({"a": REFERENCES, "b": REFERENCES}), FR)
    assert (report.places, report.shares[0].share) == ((), 0)
    silent = find_suspects(systems({"a": ["", ""], "b": ["", ""]}, ["", "«»"]), FR)
    assert (silent.places, silent.shares[0].points) == ((), 0)


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_impossible_agreement_is_refused(share):
    with pytest.raises(UsageError, match="must be at least 0 and below 1"):
        find_suspects(systems(), FR, min_agreement=share)


def test_other_mistakes_are_named():
    with pytest.raises(UsageError, match="families name 'z', which is none of the systems"):
        find_suspects(systems(), FR, families={"z": "w"})
    with pytest.raises(UsageError, match="no system"):
        find_suspects([], FR)
    with pytest.raises(ResultsError, match="not tested on the same utterances"):
        find_suspects([*systems(), make_results([("un chat", "un chat")], name="d", model={"family": "d"})], FR)


@pytest.mark.shared
def test_published_references_that_everybody_contradicts(shared):
    """Three families correct the same slips of the transcripts, in every reading of the sentence."""
    folder = shared / "published" / "predictions" / "bench"
    runs = []
    for file in ("largev3_fr", "parakeet_tdt_fr", "voxtral_small4bit_fr"):
        study = json.loads((folder / f"{file}.json").read_text(encoding="utf-8"))
        texts = [(row["ref"], row["hyp"]) for row in study["predictions"]]
        runs.append(make_results(texts, name=file, model={"family": study["family"]}))
    report = find_suspects(runs, FR)
    sure = {(p.reference, p.heard) for p in report.places if p.agreement == 1}
    assert {("investit", "investi"), ("un", "d'un"), ("luttee", "lutte")} <= sure
    assert all(0.2 < share.share < 0.8 for share in report.shares)
