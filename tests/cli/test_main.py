"""The command line as a user meets it: exit codes, help, no traceback."""

from __future__ import annotations

import pytest

from asr_headroom.cli.main import VERBS, main


def test_help_lists_every_verb(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {verb} " in text for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_its_flags(verb, capsys):
    assert main([verb, "--help"]) == 0
    assert f"asr-headroom {verb}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, ""),
        (["benhc"], 2, "did you mean 'bench'"),
        (["bench"], 2, "'models' is missing"),
        (["bench", "--models", "x"], 2, "'data' is missing"),
        (["bench", "--models", "x", "--data", "y", "--batch-size", "0"], 2, "batch_size is 0"),
        (["bench", "--models", "x", "--data", "y", "--batch-size", "many"], 2, "batch_size is 'many'"),
        (["bench", "--models", "x", "--data", "y", "--window", "half"], 2, "invalid choice"),
        (["bench", "--models", "x", "--data", "y", "--set", "batch_size"], 2, "--set key=value"),
        (["bench", "--models", "x", "--data", "y", "--set", "bach_size=1"], 2, "did you mean 'batch_size'"),
        (["bench", "--models", "x", "--data", "nowhere.jsonl"], 1, "nowhere.jsonl"),
        (["bench", "--models", "x", "--data", "y", "--normalizer", "klingon"], 2, "unknown normalizer"),
        (["bench", "--config", "nowhere.yaml"], 2, "nowhere.yaml: cannot be read"),
        (["train", "--model", "x", "--train", "y", "--dev", "z", "--budget", "soon"], 2, "budget 'soon'"),
        (["train", "--model", "x", "--train", "y", "--dev", "z", "--set", "lora.rank=0"], 2, "rank is 0"),
        (["train", "--model", "x", "--train", "y", "--dev", "z", "--set", "lora.rnk=8"], 2, "did you mean 'rank'"),
        (["train", "--model", "x", "--train", "nowhere", "--dev", "z"], 1, "nowhere"),
        (["run"], 2, "name a recipe"),
        (["run", "lap"], 2, "did you mean 'lab'"),
        (["score", "nowhere"], 1, "nowhere"),
        (["compare", "nowhere", "either"], 1, "nowhere"),
        (["normalize", "--normalizer", "klingon", "x"], 2, "unknown normalizer"),
    ],
)
def test_mistakes_end_in_one_message(words, code, message, capsys):
    assert main(words) == code
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err


def test_normalize_shows_the_steps(capsys):
    assert main(["normalize", "--language", "fr", "L’Été, « oui »"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split(maxsplit=1) == ["raw", "L’Été, « oui »"]
    assert lines[-1].endswith("l'été oui")


def test_normalize_lists(capsys):
    assert main(["normalize", "--list"]) == 0
    assert "study-fr" in capsys.readouterr().out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("asr-headroom ")


def test_dry_run_prints_every_setting(capsys):
    assert main(["train", "--model", "x", "--train", "y", "--dev", "z", "--set", "lora.rank=8", "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert "rank: 8" in text
    assert "seed: 42" in text


def test_interruption_says_how_to_go_on(capsys, monkeypatch):
    import asr_headroom.cli.normalize as verb

    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(verb, "run", interrupted)
    assert main(["normalize", "x"]) == 130
    assert "run the same command again" in capsys.readouterr().err
