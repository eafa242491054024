import argparse
import json

import pytest

from asr_headroom.cli import compare
from asr_headroom.errors import ResultsError, UsageError
from asr_headroom.testing.results import make_results, write_results

SENTENCES = [f"phrase numéro {i} avec des mots" for i in range(30)]


def run(*words):
    parser = argparse.ArgumentParser()
    compare.add_arguments(parser)
    return compare.run(parser.parse_args([str(word) for word in words]))


def directory_of(tmp_path, name, every, sentences=SENTENCES, **fields):
    texts = [(s, s.rsplit(" ", 1)[0] if i % every == 0 else s) for i, s in enumerate(sentences)]
    return write_results(tmp_path / name, make_results(texts, name=name, **fields))


@pytest.fixture
def base(tmp_path):
    return directory_of(tmp_path, "base", 2)


@pytest.fixture
def system(tmp_path):
    return directory_of(tmp_path, "system", 10)


def test_the_first_line_is_the_verdict(base, system, capsys):
    assert run(base, system) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("better: WER 8.33 % → 1.67 %, −6.67 points (95 % interval −")
    assert run(system, base) == 0
    assert capsys.readouterr().out.startswith("worse: WER 1.67 % → 8.33 %, +6.67 points (95 % interval +")
    text = "\n".join(lines)
    assert "30 utterances in 30 clusters (by utterance)" in text
    assert "holds for   new utterances by the same mix of speakers" in text
    assert "−80.00 % relative" in text
    assert "(80 % power)" in text
    assert "warning" not in text


def test_an_open_question_says_how_many_more(tmp_path, base, capsys):
    other = directory_of(tmp_path, "other", 3)
    run(base, other, "--json")
    plain = json.loads(capsys.readouterr().out)
    run(base, other)
    first = capsys.readouterr().out.splitlines()[0]
    assert plain["verdict"] == "cannot tell"
    assert first.startswith(f"cannot tell; you would need about {plain['utterances_needed']:,} more utterances")


def test_json(base, system, capsys):
    run(base, system, "--json")
    plain = json.loads(capsys.readouterr().out)
    assert plain["n"] == plain["clusters"] == 30
    assert plain["base"] == pytest.approx(15 / 180)
    assert plain["system"] == pytest.approx(3 / 180)
    assert plain["difference"] == pytest.approx(-12 / 180)
    assert plain["ci_low"] < plain["ci_high"] < 0 < plain["p_value"] < 0.05
    assert plain["minimal_detectable_effect"] > 0


def test_clusters_can_be_chosen(tmp_path, capsys):
    speakers = [f"p{i % 3}" for i in range(30)]
    pair = [directory_of(tmp_path, name, every, speakers=speakers) for name, every in (("a", 2), ("b", 10))]
    run(*pair, "--cluster", "speaker", "--json")
    plain = json.loads(capsys.readouterr().out)
    assert (plain["clusters"], plain["cluster_by"], plain["verdict"]) == (3, "speaker", "cannot tell")
    assert "only 3 here: too few to trust" in plain["population"]


def test_speakers_that_are_not_known_cannot_be_clusters(base, system):
    with pytest.raises(UsageError, match=r"30 of 30 utterances name no speaker.*--cluster sentence"):
        run(base, system, "--cluster", "speaker")


def test_unequal_tests_are_refused_or_intersected(tmp_path, base, capsys):
    part = directory_of(tmp_path, "part", 10, SENTENCES[:20])
    with pytest.raises(ResultsError, match=r"20 shared, 10 only in the first.*--intersect"):
        run(base, part)
    run(base, part, "--intersect")
    out = capsys.readouterr().out
    assert "20 utterances in 20 clusters" in out
    assert "warning: 10 utterances that only one of the two has are left out" in out


def test_different_decoding_and_window_are_visible(tmp_path, base, capsys):
    decoding = {"window": "fitted", "beam_size": 1}
    other = directory_of(tmp_path, "other", 10, decoding_hash="b", decoding=decoding)
    run(base, other)
    warnings = [line for line in capsys.readouterr().out.splitlines() if "warning" in line]
    assert len(warnings) == 2
    assert "decoded differently" in warnings[0]
    assert "windows of different length (none stated and window fitted)" in warnings[1]
