import dataclasses
import json

import pytest

from asr_headroom.analysis.scoring import compare_results, decoding_windows, own_normalizer, score_results
from asr_headroom.errors import ResultsError, UsageError
from asr_headroom.results.readers import read_results
from asr_headroom.results.schema import RunInfo
from asr_headroom.testing.results import make_results
from asr_headroom.text.normalize import get_normalizer

TEXTS = [(f"phrase {i} avec des mots", f"phrase {i} avec mots") for i in range(20)]
BETTER = [(reference, reference if i % 3 else hypothesis) for i, (reference, hypothesis) in enumerate(TEXTS)]


def test_score_by_hand():
    score = score_results(make_results([("un chat noir", "un chien"), ("l'été", ""), ("deux", "deux deux")]))
    counts = score.counts
    assert (counts.hits, counts.substitutions, counts.deletions, counts.insertions) == (2, 1, 2, 1)
    assert score.wer == pytest.approx(4 / 5)
    assert counts.match_error_rate == pytest.approx(4 / 6)
    # "at noir" to "ien" takes 6 edits, "l'été" 5 deletions, " deux" 5 insertions; 21 characters were said.
    assert score.cer == pytest.approx((6 + 5 + 5) / 21)
    assert (score.num_utterances, score.empty, score.looped, score.truncated) == (3, 1, 0, 0)


def test_capping_takes_loops_out_of_the_rate():
    score = score_results(make_results([("un deux", "un deux " * 5), ("trois", "quatre")]))
    assert score.counts.error_rate == pytest.approx((8 + 1) / 3)
    assert score.capped_rate == pytest.approx((2 + 1) / 3)


def test_the_other_profile_stands_beside_the_own():
    results = make_results([("le cœur", "le coeur"), ("12 %", "12")], language="fr")
    score = score_results(results)
    assert (score.wer, score.other) == (0.0, ("study-fr", 2 / 4))
    assert score_results(results, normalizer=get_normalizer("study-fr")).other == ("fr", 0.0)
    assert score_results(make_results(TEXTS, language="en", normalizer_id="en")).other is None
    assert score_results(make_results(TEXTS)).other is None


def test_a_gain_of_script_alone_is_called_format():
    rows = [("简体", "簡體")] * 20
    base = make_results(rows, name="base", normalizer_id="study-zh", language="zh")
    system = make_results([(r, r) for r, _ in rows], name="new", normalizer_id="study-zh", language="zh")
    pair = compare_results(base, system, cluster="utterance")
    assert pair.comparison.difference == -1.0
    assert pair.other_comparison.difference == 0.0
    assert "better under study-zh, cannot tell under zh; what differs between them is format" in pair.warnings[-1]


def test_silence_recognised_as_silence_is_no_empty_output():
    assert score_results(make_results([("", ""), ("un", "un")])).empty == 0


def test_chinese_has_no_word_error_rate():
    score = score_results(make_results([("你好吗", "你好")], normalizer_id="zh"))
    assert score.wer is None
    assert score.cer == pytest.approx(1 / 3)


def test_another_normaliser_counts_anew():
    results = make_results([("Le cœur", "le coeur")])
    assert score_results(results).wer == 0
    assert score_results(results, normalizer=get_normalizer("study-fr")).wer == 0.5


def test_normaliser_falls_back_to_the_language():
    results = make_results(TEXTS, language="zh-CN")
    bare = dataclasses.replace(results, run=dataclasses.replace(results.run, normalizer={}))
    assert own_normalizer(bare).id == "zh"
    unknown = dataclasses.replace(results, run=dataclasses.replace(results.run, normalizer={"id": "mine"}))
    with pytest.raises(ResultsError, match=r"'system' was scored with an unknown normalizer 'mine'.*--normalizer"):
        own_normalizer(unknown)


def test_nothing_to_score():
    with pytest.raises(ResultsError, match="'system': holds no predictions"):
        score_results(make_results([]))
    with pytest.raises(UsageError, match="all references are empty"):
        score_results(make_results([("…", "a")]))


def test_order_of_writing_does_not_move_the_interval():
    results = make_results(TEXTS)
    backwards = dataclasses.replace(results, predictions=results.predictions[::-1])
    assert score_results(results).estimate == score_results(backwards).estimate
    other = make_results(BETTER)
    assert compare_results(results, other).comparison == compare_results(backwards, other).comparison


def test_swapping_negates():
    base, system = make_results(TEXTS), make_results(BETTER)
    there, back = compare_results(base, system).comparison, compare_results(system, base).comparison
    assert there.verdict == "better"
    assert back.verdict == "worse"
    assert there.difference == -back.difference
    assert there.interval.low == pytest.approx(-back.interval.high)


def test_intersection_says_what_it_left_out():
    base, system = make_results(TEXTS), make_results(BETTER[:15])
    with pytest.raises(ResultsError, match="--intersect"):
        compare_results(base, system)
    pair = compare_results(base, system, intersect=True)
    assert pair.left_out == 5
    assert "5 utterances that only one of the two has are left out" in pair.warnings


def test_speakers_known_to_one_run_are_enough():
    speakers = [f"p{i}" for i in range(20)]
    pair = compare_results(make_results(TEXTS), make_results(BETTER, speakers=speakers))
    assert (pair.comparison.cluster_by, pair.comparison.population) == ("speaker", "new speakers")


@pytest.mark.parametrize(
    ("base", "system", "warning"),
    [
        ({"decoding_hash": "a"}, {"decoding_hash": "b"}, "decoded differently (decoding hash a and b)"),
        (
            {"decoding_hash": "a", "decoding": {"beam_size": 1, "loop_guard": {"repeats": 4}}},
            {"decoding_hash": "b", "decoding": {"beam_size": 5, "loop_guard": {"repeats": 4}}},
            "; beam_size 1 and 5)",
        ),
        ({"decoding": {"window": "full"}}, {"decoding": {"window": "fitted"}}, "windows of different length"),
        ({"language": "fr"}, {"language": "de"}, "told different languages (fr and de)"),
        ({}, {"data": {"name": "a test", "fingerprint": "other"}}, "different fingerprints"),
        ({"status": "running"}, {}, "is not finished: 20 predictions so far"),
        ({}, {"model": {"language_mismatch": True}, "language": None}, "was not made for this language"),
    ],
)
def test_what_makes_two_runs_less_comparable(base, system, warning):
    pair = compare_results(make_results(TEXTS, **base), make_results(BETTER, **system))
    assert warning in " / ".join(pair.warnings)


def test_equal_conditions_give_no_warning():
    assert compare_results(make_results(TEXTS), make_results(BETTER)).warnings == ()


def test_many_empty_outputs_accuse_the_harness():
    texts = [(reference, "" if i < 3 else reference) for i, (reference, _) in enumerate(TEXTS)]
    assert "15 % of the outputs of 'system' are empty" in score_results(make_results(texts)).warnings[0]


def test_an_older_version_of_the_normaliser_is_said_and_recounted():
    results = make_results(TEXTS)
    old = dataclasses.replace(results.run, normalizer={"id": "fr", "hash": "00000000"})
    score = score_results(dataclasses.replace(results, run=old))
    assert "another version of the normalizer fr (00000000" in score.warnings[0]
    assert score.counts == score_results(results).counts


def test_windows_are_found_wherever_they_stand():
    run = RunInfo(name="x", decoding={"beam_size": 1, "state": {"window_seconds": 30}})
    assert decoding_windows(run) == {"state.window_seconds": 30}


def published(shared, name):
    rows = json.loads((shared / f"published/predictions/whisper_fr/{name}.json").read_text(encoding="utf-8"))
    texts = [(row["ref"], row["hyp"]) for row in rows["predictions"]]
    return make_results(texts, name=name, normalizer_id="study-fr", language="fr")


@pytest.mark.shared
@pytest.mark.parametrize(
    ("base", "system", "points", "p", "verdict"),
    [
        ("baseline_small", "full_small", 0.71, 0.06, "cannot tell"),
        ("baseline_turbo", "lora_turbo", 0.36, 0.11, "cannot tell"),
        ("baseline_tiny", "lora_tiny", 0.13, 0.98, "cannot tell"),
        ("lora_small", "lora_small_v2", -0.04, 0.93, "cannot tell"),
        ("baseline_small", "lora_small", 1.65, 0.001, "worse"),
    ],
)
def test_known_comparisons_of_the_study(shared, base, system, points, p, verdict):
    comparison = compare_results(published(shared, base), published(shared, system)).comparison
    assert round(100 * comparison.difference, 2) == points
    assert comparison.num_clusters == 296
    assert comparison.cluster_by == "sentence"
    assert comparison.p_value == pytest.approx(p, abs=0.02)
    assert comparison.verdict == verdict


@pytest.mark.shared
def test_the_study_gain_in_chinese_is_script(shared):
    results = []
    for name in ("baseline_small", "lora_small"):
        rows = json.loads((shared / f"published/predictions/whisper_zh/{name}.json").read_text(encoding="utf-8"))
        texts = [(row["ref"], row["hyp"]) for row in rows["predictions"]]
        results.append(make_results(texts, name=name, normalizer_id="study-zh", language="zh"))
    pair = compare_results(*results)
    assert (pair.comparison.verdict, pair.other_comparison.verdict) == ("better", "cannot tell")
    assert 100 * pair.other_comparison.difference == pytest.approx(1.8, abs=0.1)
    assert 100 * score_results(results[1]).capped_rate == pytest.approx(18.2, abs=0.1)


def test_no_rate_has_an_interval_below_zero():
    score = score_results(make_results([("un deux trois", "un deux trois"), ("quatre cinq", "quatre")]))
    assert (score.estimate.rate, score.estimate.interval.low) == (pytest.approx(0.2), 0.0)


def test_a_file_given_twice_is_said():
    results = make_results([(f"phrase {i} a", f"phrase {i}") for i in range(20)], kind="import")
    other = make_results([(f"phrase {i} a", f"phrase {i} à") for i in range(20)], kind="import")
    assert any("same outputs, letter for letter" in w for w in compare_results(results, results).warnings)
    assert not any("same outputs" in w for w in compare_results(results, other).warnings)


def test_pairing_repeats_by_their_order_is_said_where_it_matters(tmp_path):
    rows = [{"ref": f"phrase {i % 15}", "hyp": f"phrase {i}"} for i in range(30)]
    paths = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    for path, ordered in zip(paths, (rows, rows[::-1]), strict=True):
        path.write_text("\n".join(map(json.dumps, ordered)), encoding="utf-8")
    files = [read_results(path, language="fr") for path in paths]
    warned = {by: compare_results(*files, cluster=by).warnings for by in ("sentence", "utterance")}
    assert not any("repeat a reference" in w for w in warned["sentence"])
    assert any(w.startswith("15 utterances repeat a reference") for w in warned["utterance"])


@pytest.mark.shared
def test_known_interval_of_the_study(shared):
    estimate = score_results(published(shared, "baseline_small")).estimate
    assert (estimate.interval.low, estimate.interval.high) == pytest.approx((0.1270, 0.1507), abs=0.001)
