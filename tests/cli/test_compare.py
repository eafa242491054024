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


def test_it_says_how_files_were_read(tmp_path, capsys):
    for name, word in (("a", "mots"), ("b", "maux")):
        rows = [json.dumps({"ref": s, "hyp": s.replace("mots", word)}) for s in SENTENCES]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows), encoding="utf-8")
    assert run(tmp_path / "a.jsonl", tmp_path / "b.jsonl") == 0
    said = [line for line in capsys.readouterr().out.splitlines() if "read as" in line]
    assert len(said) == 1
    assert "JSON lines, language fr guessed from the references" in said[0]


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


def test_files_of_anybody(tmp_path, capsys):
    paths = []
    for folder, every in (("base", 2), ("tuned", 10)):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "predictions.csv"
        rows = [f'"{s}","{s.rsplit(" ", 1)[0] if i % every == 0 else s}"' for i, s in enumerate(SENTENCES)]
        path.write_text("\n".join(["ref,hyp", *rows]), encoding="utf-8")
        paths.append(path)
    run(*paths)
    out = capsys.readouterr().out
    assert out.startswith("better: WER 8.33 % → 1.67 %")
    assert "'tuned/predictions' against 'base/predictions'" in out
    assert "30 utterances in 30 clusters (by utterance), paired by reference text" in out
    run(*paths, "--json")
    plain = json.loads(capsys.readouterr().out)
    assert (plain["paired_by"], plain["left_out"], plain["warnings"]) == ("reference text", 0, [])


def test_swapping_two_files_negates(tmp_path, capsys):
    paths = []
    for name, every in (("a", 2), ("b", 3)):
        rows = [{"ref": s, "hyp": s.rsplit(" ", 1)[0] if i % every == 0 else s} for i, s in enumerate(SENTENCES)]
        paths.append(tmp_path / f"{name}.json")
        paths[-1].write_text(json.dumps(rows), encoding="utf-8")
    found = []
    for order in (paths, paths[::-1]):
        run(*order, "--json")
        found.append(json.loads(capsys.readouterr().out))
    assert found[0]["difference"] == -found[1]["difference"]
    assert found[0]["ci_low"] == pytest.approx(-found[1]["ci_high"])


def test_keywords_are_compared(tmp_path, base, system, capsys):
    keywords = tmp_path / "keywords.txt"
    keywords.write_text("mots\n", encoding="utf-8")
    run(base, system, "--keywords", keywords, "--json")
    found = json.loads(capsys.readouterr().out)["keywords"]
    assert (found["base"]["recall"], found["system"]["recall"]) == (0.5, 0.9)
    assert found["missed"]["difference"] == pytest.approx(-0.4)
    assert found["missed"]["ci_high"] < 0
    # Fifteen and three keywords missed, each counting 5; thirty sentences of 5 words and a keyword.
    rates = found["weighted_error_rate"]
    assert (rates["base"], rates["system"]) == (pytest.approx(75 / 300), pytest.approx(15 / 300))
    run(base, system, "--keywords", keywords)
    assert "keywords    recall 50.00 % → 90.00 % of 30, missed −40.00 points" in capsys.readouterr().out


def test_a_placeholder_for_empty_texts(tmp_path, capsys):
    base = directory_of(tmp_path, "base", 2)
    run(base, base, "--empty-as", "<empty>", "--json")
    plain = json.loads(capsys.readouterr().out)
    assert plain["normalizer"]["id"] == "fr+empty-as-<empty>"
    assert plain["difference"] == 0
