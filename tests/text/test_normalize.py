import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_headroom.errors import ConfigError
from asr_headroom.metrics.error_rate import ErrorCounts, count_pair
from asr_headroom.text.normalize import get_normalizer, normalizer_for_language, normalizer_ids

CORRECTED = ["fr", "en", "zh", "basic", "basic-characters"]

# Ordinary characters, and those that interact: apostrophes, ligatures, joiners, accents, variants.
TRICKY = st.text(
    alphabet=st.one_of(
        st.characters(codec="utf-8"),
        st.sampled_from("'’‘ «»œŒæ\u0301\u0327\u200d\u00a0éÉİΣς薴苧乾坤藉口著%½-"),
    ),
    max_size=14,
)


@pytest.mark.parametrize("normalizer_id", CORRECTED)
@settings(max_examples=300, deadline=None)
@given(text=TRICKY)
def test_corrected_profiles_are_idempotent(normalizer_id, text):
    normalizer = get_normalizer(normalizer_id)
    once = normalizer(text)
    assert normalizer(once) == once


@pytest.mark.parametrize("normalizer_id", CORRECTED)
@pytest.mark.parametrize("text", ["''a", "a''", "' 'a", "'' ''", "«'»x", "薴", "A\u00b4", "a\u200d\u0301", "œ\u0300"])
def test_corrected_profiles_are_idempotent_where_it_is_hard(normalizer_id, text):
    normalizer = get_normalizer(normalizer_id)
    assert normalizer(normalizer(text)) == normalizer(text)


@pytest.mark.parametrize(
    ("normalizer_id", "raw", "expected"),
    [
        ("study-fr", "L’été, « c'est » l'hiver…", "l'été c'est l'hiver"),
        ("study-fr", "' bonjour ' d' eau", "bonjour d eau"),
        ("study-fr", "peut-être 3,5 %", "peut être 3 5 %"),
        ("study-fr", "CŒUR", "cœur"),
        ("study-zh", "我们，“ABC” 3.5%", "我们“ABC”35%"),
        ("study-zh", "《簡體》 和·「繁體」", "簡體和繁體"),
        ("fr", "Le cœur — d’Émile\u00a0: 12 % !", "le coeur d'émile 12"),
        ("fr", "C'est-à-dire l'«été»", "c'est à dire l été"),
        ("fr", "e\u0301te\u0301", "été"),
        ("en", "It's THE dogs' “bone”", "it is the dogs bone"),
        ("zh", "簡體和《繁體》，ＡＢＣ！", "简体和繁体abc"),
        ("basic", "Straße!", "strasse"),
        ("basic", "हिन्दी, किताब", "हिन्दी किताब"),
        ("basic-characters", "ภาษา ไทย!", "ภาษาไทย"),
    ],
)
def test_worked_by_hand(normalizer_id, raw, expected):
    assert get_normalizer(normalizer_id)(raw) == expected


@pytest.mark.parametrize("normalizer_id", normalizer_ids())
def test_empty_and_white_space_become_empty(normalizer_id):
    assert get_normalizer(normalizer_id)("") == ""
    assert get_normalizer(normalizer_id)(" \t\u3000\n") == ""


def test_trace_starts_raw_and_ends_in_the_result():
    normalizer = get_normalizer("fr")
    trace = normalizer.trace("Le CŒUR !")
    assert trace[0] == ("raw", "Le CŒUR !")
    assert trace[-1][1] == normalizer("Le CŒUR !")
    assert [name for name, _ in trace[1:]] == sorted(
        {name for name, _ in trace[1:]}, key=[step.name for step in normalizer.steps].index
    )


def test_hashes_differ_between_profiles_and_repeat():
    hashes = {normalizer_id: get_normalizer(normalizer_id).hash for normalizer_id in normalizer_ids()}
    assert len(set(hashes.values())) == len(hashes)
    assert all(len(value) == 8 for value in hashes.values())


def test_unknown_profile_suggests_a_known_one():
    with pytest.raises(ConfigError, match=r"unknown normalizer 'study_fr'; did you mean 'study-fr'\?"):
        get_normalizer("study_fr")


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("fr-CA", "fr"),
        ("zh-TW", "zh"),
        ("EN", "en"),
        ("ja", "basic-characters"),
        ("de", "basic"),
        (None, "basic"),
    ],
)
def test_default_of_a_language(language, expected):
    assert normalizer_for_language(language).id == expected


def published_files(shared):
    for path in sorted((shared / "published" / "predictions").glob("*/*.json")):
        yield path, json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.shared
def test_study_profiles_reproduce_every_published_rate(shared):
    checked = 0
    for path, file in published_files(shared):
        chinese = "zh" in path.stem or path.parent.name == "whisper_zh"
        normalizer = get_normalizer("study-zh" if chinese else "study-fr")
        texts = [(p["ref"], p["hyp"]) for p in file["predictions"]]
        if not all(normalizer(reference) and normalizer(hypothesis) for reference, hypothesis in texts):
            continue
        counts = [count_pair(reference, hypothesis, normalizer) for reference, hypothesis in texts]
        if file.get("wer") is not None and not chinese:
            words = ErrorCounts.total(count.words for count in counts)
            assert words.error_rate == pytest.approx(file["wer"], abs=1e-9), path.name
            checked += 1
        if file.get("cer") is not None:
            characters = ErrorCounts.total(count.characters for count in counts)
            assert characters.error_rate == pytest.approx(file["cer"], abs=1e-9), path.name
            checked += 1
        if file.get("mer") is not None and chinese:
            characters = ErrorCounts.total(count.characters for count in counts)
            assert characters.match_error_rate == pytest.approx(file["mer"], abs=1e-9), path.name
    assert checked > 40


@pytest.mark.shared
def test_study_profiles_give_the_published_normalised_texts(shared):
    for path, file in published_files(shared):
        if path.parent.name == "whisper_fr":
            normalizer = get_normalizer("study-fr")
            for row in file["predictions"]:
                assert normalizer(row["ref"]) == row["ref_norm"]
                assert normalizer(row["hyp"]) == (row["hyp_norm"] if row["hyp_norm"] != "<empty>" else "")


@pytest.mark.shared
@pytest.mark.parametrize(
    ("file", "script_blind"),
    [("baseline_tiny_zh", 47.2), ("baseline_small", 21.4), ("baseline_medium", 17.9), ("lora_small", 23.2)],
)
def test_corrected_chinese_profile_ignores_the_script(shared, file, script_blind):
    rows = json.loads((shared / f"published/predictions/whisper_zh/{file}.json").read_text())["predictions"]
    counts = [count_pair(row["ref"], row["hyp"], get_normalizer("zh")).characters for row in rows]
    assert 100 * ErrorCounts.total(counts).error_rate == pytest.approx(script_blind, abs=0.1)
