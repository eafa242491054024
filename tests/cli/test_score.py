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
