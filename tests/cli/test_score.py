import argparse
import dataclasses
import json

import pytest

from asr_headroom.cli import score
from asr_headroom.errors import ConfigError, ResultsError
from asr_headroom.testing.results import make_results, write_results

TEXTS = [("Le chat noir", "le chat"), ("deux cœurs", "deux coeurs"), ("trois", "quatre cinq")]


def run(*words):
    parser = argparse.ArgumentParser()
    score.add_arguments(parser)
    return score.run(parser.parse_args([str(word) for word in words]))


@pytest.fixture
def directory(tmp_path):
    return write_results(tmp_path / "run", make_results(TEXTS, name="small", language="fr"))


def test_json_by_hand(directory, capsys):
    assert run(directory, "--json") == 0
    plain = json.loads(capsys.readouterr().out)
    assert plain["n"] == 3
    assert (plain["hits"], plain["substitutions"], plain["deletions"], plain["insertions"]) == (4, 1, 1, 1)
    assert plain["wer"] == pytest.approx(3 / 6)
    assert plain["mer"] == pytest.approx(3 / 7)
    assert plain["normalizer"]["id"] == "fr"
    assert plain["clusters"] == 3
    assert plain["ci_low"] <= plain["wer"] <= plain["ci_high"]


def test_words_for_people(directory, capsys):
    assert run(directory) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "small"
    assert lines[1].startswith("  WER         50.00 %  (95 % interval ")
    assert any("4 hits, 1 substitutions, 1 deletions, 1 insertions; 6 in the reference" in line for line in lines)
    assert any("3 utterances in 3 clusters (by utterance)" in line for line in lines)


def test_another_normaliser(directory, capsys):
    run(directory, "--json", "--normalizer", "study-fr")
    assert json.loads(capsys.readouterr().out)["wer"] == pytest.approx(4 / 6)
    with pytest.raises(ConfigError, match="did you mean 'study-fr'"):
        run(directory, "--normalizer", "studyfr")


def test_characters_lead_in_chinese(tmp_path, capsys):
    directory = write_results(tmp_path, make_results([("你好吗", "你好"), ("我很好", "我狠好")], normalizer_id="zh"))
    run(directory, "--json")
    plain = json.loads(capsys.readouterr().out)
    assert (plain["wer"], plain["cer"], plain["unit"]) == (1.0, pytest.approx(2 / 6), "character")
    run(directory)
    assert capsys.readouterr().out.splitlines()[1].startswith("  CER         33.33 %")


def test_an_unfinished_run_warns(tmp_path, capsys):
    results = make_results(TEXTS)
    results = dataclasses.replace(results, run=dataclasses.replace(results.run, status="running"))
    directory = write_results(tmp_path, results)
    run(directory)
    assert "warning: 'system' is not finished: 3 predictions so far" in capsys.readouterr().out


def test_no_run(tmp_path):
    with pytest.raises(ResultsError, match=r"no run\.json"):
        run(tmp_path)


ROWS = [("le chat dort sur la table", "le chat dort"), ("il fait beau", ""), ("un deux trois", "un deux trois")]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "theirs.jsonl"
    path.write_text("\n".join(json.dumps({"text": r, "pred_text": h}) for r, h in ROWS), encoding="utf-8")
    return path


def test_a_file_of_anybody(file, capsys):
    run(file, "--json")
    plain = json.loads(capsys.readouterr().out)
    assert (plain["n"], plain["wer"], plain["deletions"], plain["hits"]) == (3, pytest.approx(6 / 12), 6, 6)
    assert (plain["empty"], plain["empty_rate"], plain["loop_rate"]) == (1, pytest.approx(1 / 3), 0)
    assert (plain["truncated"], plain["truncated_rate"]) == (None, None)
    assert plain["read"] == {"format": "JSON lines", "ids": "content", "language_from": "guessed from the references"}
    run(file)
    out = capsys.readouterr().out
    assert "read as     JSON lines, language fr guessed from the references, ids made from the references" in out
    assert "outputs     1 empty, 0 looping\n" in out
    assert "33 % of the outputs of 'theirs' are empty; suspect the prompt" in out


def test_empty_texts_as_a_placeholder_only_on_request(file, capsys):
    found = []
    for flags in ([], ["--empty-as", "<empty>"]):
        run(file, "--normalizer", "study-fr", "--json", *flags)
        found.append(json.loads(capsys.readouterr().out))
    # "il fait beau" as "<empty>": still three wrong words, but twelve characters in place of twelve deletions.
    assert found[0]["wer"] == found[1]["wer"]
    assert found[0]["cer"] == pytest.approx((13 + 12) / (25 + 12 + 13))
    assert found[1]["normalizer"]["id"] == "study-fr+empty-as-<empty>"
    assert found[1]["empty"] == 1


def test_two_files(tmp_path, capsys):
    for name, place in (("ref", 0), ("hyp", 1)):
        (tmp_path / name).write_text("\n".join(row[place] for row in ROWS) + "\n", encoding="utf-8")
    run(tmp_path / "hyp", "--reference", tmp_path / "ref", "--language", "French", "--json")
    assert json.loads(capsys.readouterr().out)["wer"] == pytest.approx(6 / 12)


def test_keywords(file, tmp_path, capsys):
    keywords = tmp_path / "keywords.txt"
    keywords.write_text("# pets\nLe chat\n\ntable\nfait beau\n", encoding="utf-8")
    run(file, "--keywords", keywords, "--keyword-weight", "3", "--json")
    found = json.loads(capsys.readouterr().out)["keywords"]
    assert (found["said"], found["recalled"], found["recall"]) == (3, 1, pytest.approx(1 / 3))
    assert found["precision"] == 1.0
    # Errors: sur, la, il count 1 each; table, fait and beau 3 each. Words of keywords: le chat, table, fait beau.
    assert found["weighted_error_rate"] == pytest.approx((3 + 3 * 3) / (7 + 5 * 3))
    run(file, "--keywords", keywords)
    assert "keywords    1 of 3 said were heard: recall 33.33 %, precision 100.00 %" in capsys.readouterr().out


def test_loops_and_languages_are_counted_and_said(tmp_path, capsys):
    rows = [("le chat dort sur la table", "the cat is asleep on the table and it is warm")] * 6
    rows += [("il fait beau", "il fait " + "très " * 30)] * 4
    path = tmp_path / "p.json"
    path.write_text(json.dumps([{"ref": r, "hyp": h} for r, h in rows]), encoding="utf-8")
    run(path, "--json")
    plain = json.loads(capsys.readouterr().out)
    assert (plain["wrong_language_rate"], plain["loop_rate"], plain["wrong_script_rate"]) == (0.6, 0.4, 0)
    assert plain["capped_rate"] < plain["wer"]
    text = " / ".join(plain["warnings"])
    assert "60 % of the outputs of 'p' are in another language than fr" in text
    assert "40 % of the outputs of 'p' repeat themselves in a loop" in text


def test_clusters_of_the_interval(tmp_path, capsys):
    path = tmp_path / "p.json"
    path.write_text(json.dumps([{"ref": "le chat", "hyp": "le", "speaker": f"s{i % 3}"} for i in range(9)]))
    for by, number in (("utterance", 9), ("sentence", 1), ("speaker", 3)):
        run(path, "--language", "fr", "--cluster", by, "--json")
        plain = json.loads(capsys.readouterr().out)
        assert (plain["cluster_by"], plain["clusters"]) == (by, number)
