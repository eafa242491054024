import json
import random

import pytest

from asr_headroom.cli.main import main

SENTENCES = [f"la phrase numéro {i} a quelques mots de plus" for i in range(40)]


@pytest.fixture
def files(tmp_path):
    """Three files of predictions: one without errors, two with about as many."""
    paths = []
    for name, share in (("half", 0.5), ("right", 0.0), ("also", 0.45)):
        rng = random.Random(name)
        rows = [{"text": s, "pred_text": s.rsplit(" ", 1)[0] if rng.random() < share else s} for s in SENTENCES]
        paths.append(tmp_path / f"{name}.jsonl")
        paths[-1].write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return list(map(str, paths))


def test_verdict_stands_first(files, capsys):
    assert main(["compare", *files]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "best: right, WER 0.00 %; better than all 2 others"
    assert any("no two of these can be told apart: " in line and "half" in line and "also" in line for line in lines)


def test_json_has_every_pair(files, capsys):
    assert main(["compare", *files, "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert plain["n"] == 40
    assert plain["systems"][0]["name"] == "right"
    assert {frozenset((p["base"], p["system"])) for p in plain["pairs"]} == {
        frozenset(pair) for pair in (("right", "half"), ("right", "also"), ("half", "also"))
    }


def test_markdown(files, capsys):
    assert main(["compare", *files, "--markdown"]) == 0
    assert capsys.readouterr().out.startswith("**best: right, WER 0.00 %; better than all 2 others**")


def test_two_files_keep_their_contract(files, capsys):
    assert main(["compare", *files[:2], "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert {"n", "clusters", "base", "system", "difference", "ci_low", "ci_high", "p_value"} <= plain.keys()


@pytest.mark.parametrize("extra", [["--markdown"], ["--markdown", "--json"]])
def test_markdown_of_two_is_refused(files, capsys, extra):
    try:
        code = main(["compare", *files[:2], *extra])
    except SystemExit as stop:  # argparse, for flags that exclude each other
        code = stop.code
    assert code == 2
    assert "--markdown" in capsys.readouterr().err


def test_keywords_are_for_two(files, tmp_path, capsys):
    keywords = tmp_path / "keywords.txt"
    keywords.write_text("phrase\n", encoding="utf-8")
    assert main(["compare", *files, "--keywords", str(keywords)]) == 2
    assert "--keywords compares two systems" in capsys.readouterr().err


def test_sets_that_differ_are_refused_and_intersected_on_request(files, tmp_path, capsys):
    short = tmp_path / "short.jsonl"
    lines = (tmp_path / "half.jsonl").read_text(encoding="utf-8").splitlines()[:30]
    short.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert main(["compare", *files, str(short)]) == 1
    assert "30 shared" in capsys.readouterr().err
    assert main(["compare", *files, str(short), "--intersect"]) == 0
    assert "10 utterances that not all systems have are left out" in capsys.readouterr().out
