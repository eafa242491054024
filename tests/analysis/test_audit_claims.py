import pytest

from asr_headroom.analysis.audit_claims import PLACEHOLDER, Claim, candidate_profiles, claims_of, rate_of, recompute
from asr_headroom.metrics.error_rate import count_pair
from asr_headroom.text.normalize import get_normalizer

TEXTS = [("Un chat dort.", "un chat mort"), ("Oui !", ""), ("Le chien a mangé la soupe.", "le chien mange la soupe")]


def counts(normalizer):
    return [count_pair(reference, hypothesis, normalizer) for reference, hypothesis in TEXTS]


def origin(**head):
    (found,) = recompute(claims_of(head), counts, "fr")
    return found.kind, found.normalizer and found.normalizer.id


def test_stated_rates_by_any_usual_name():
    head = {"WER": 0.5, "Word Error Rate": 0.7, "test_cer": 12, "mer": None, "n": 3, "cer": True, "wer_note": "raw"}
    assert [(claim.metric, claim.value) for claim in claims_of(head)] == [("wer", 0.5), ("cer", 12.0)]


@pytest.mark.parametrize(
    ("stated", "matches"), [(0.4444, True), (44.44, True), (0.44, True), (44.4, True), (0.4445, False), (0.45, False)]
)
def test_a_rate_matches_to_its_last_digit_as_fraction_or_per_cent(stated, matches):
    (claim,) = claims_of({"wer": stated})
    assert claim.matches(4 / 9) is matches


def test_where_a_rate_comes_from():
    # Words, by hand: dort/mort; oui; a, mangé/mange: 4 errors of 10. Raw: also Un/un, dort./mort; Oui !, Le/le, soupe.
    assert origin(wer=4 / 10) == ("corpus", "study-fr")
    assert origin(wer=8 / 11) == ("corpus", "raw")
    assert origin(wer=(1 / 3 + 1 + 2 / 6) / 3) == ("mean of rates", "study-fr")
    assert origin(wer=0.123456) == ("unknown", None)
    plain, marked = (rate_of("cer", counts(n), n) for n in map(get_normalizer, ("study-fr", "study-fr")))
    assert plain == marked
    # 'oui' against '<empty>' is seven errors, against nothing three.
    length = sum(len(get_normalizer("study-fr")(reference)) for reference, _ in TEXTS)
    assert origin(cer=plain + (len(PLACEHOLDER) - 3) / length) == ("placeholder", "study-fr")


def test_several_rates_are_told_apart():
    found = recompute(claims_of({"wer": 0.4, "cer": 0.9}), counts, "fr")
    assert [one.kind for one in found] == ["corpus", "unknown"]
    assert recompute((), counts, "fr") == ()


def test_the_likeliest_profile_is_tried_first():
    assert [profile.id for profile in candidate_profiles("fr")][:3] == ["study-fr", "fr", "raw"]
    ids = [profile.id for profile in candidate_profiles("zh-TW")]
    assert ids[:2] == ["study-zh", "zh"]
    assert len(ids) == len(set(ids))
    assert Claim("wer", 0.5, 1e-9).matches(0.5)
