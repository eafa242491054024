import json

import pytest

from asr_headroom.cli.main import main


def test_speech_writes_a_manifest_and_does_nothing_the_second_time(tmp_path, capsys):
    pytest.importorskip("espeakng_loader", reason="espeakng-loader is not installed")
    command = [
        "lab",
        "speech",
        "--language",
        "zh",
        "--split",
        "test",
        "--count",
        "4",
        "--output",
        str(tmp_path),
    ]
    assert main(command) == 0
    manifest = tmp_path / "manifest.jsonl"
    assert str(manifest) in capsys.readouterr().out
    assert [json.loads(line)["language"] for line in manifest.read_text().splitlines()] == ["zh"] * 4
    written = manifest.stat().st_mtime_ns
    assert main(command) == 0
    assert manifest.stat().st_mtime_ns == written


def test_impossible_language_exits_2_and_lists_what_there_is(tmp_path, capsys):
    assert main(["lab", "speech", "--language", "de", "--output", str(tmp_path)]) == 2
    assert "choose from: fr, zh, en" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_dry_run_of_pretraining_prints_every_setting(tmp_path, capsys):
    assert main(["lab", "pretrain", "--steps", "7", "--output", str(tmp_path), "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "steps: 7" in printed
    assert "english_share" in printed
    assert not list(tmp_path.iterdir())


def test_lab_alone_runs_the_recipe_with_its_overrides(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr("asr_headroom.recipes.run.run_recipe", lambda *args, **kwargs: calls.append((args, kwargs)))
    assert main(["lab", "--output", str(tmp_path), "--set", "train-fr.seed=3"]) == 0
    (((name,), options),) = calls
    assert name == "lab"
    assert options["output"] == tmp_path
    assert list(options["overrides"]) == ["train-fr.seed=3"]
