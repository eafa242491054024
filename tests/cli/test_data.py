from __future__ import annotations

import argparse
import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from asr_headroom.cli import data
from asr_headroom.data.readers import read_manifest
from asr_headroom.errors import DataError, UsageError


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    data.add_arguments(parser)
    return data.run(parser.parse_args([*words]))


@pytest.fixture
def manifest(tmp_path):
    """Forty utterances of ten speakers; all sentences differ."""
    soundfile.write(tmp_path / "a.wav", 0.1 * np.sin(np.arange(16_000) / 10), 16_000)
    rows = [
        {
            "id": f"u{i}",
            "audio": "a.wav",
            "text": f"phrase {i}",
            "language": "fr",
            "speaker": f"s{i % 10}",
            "duration": 1,
        }
        for i in range(40)
    ]
    path = tmp_path / "m.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def add(manifest, line):
    manifest.write_text(manifest.read_text(encoding="utf-8") + line + "\n", encoding="utf-8")


def test_validate_clean(manifest, capsys):
    assert run("validate", str(manifest)) == 0
    output = capsys.readouterr().out
    assert "40 rows = 40 usable + 0 unusable, 0 warnings, 0.01 h usable (headers read; --deep" in output
    assert run("validate", str(manifest), "--deep") == 0
    assert "every segment decoded" in capsys.readouterr().out


def test_warnings_alone_are_no_failure(manifest, capsys):
    add(manifest, json.dumps({"id": "x", "audio": "a.wav", "text": "« oui »"}))
    assert run("validate", str(manifest)) == 0
    assert f"{manifest}:41: warning: the text holds U+00AB, U+00BB" in capsys.readouterr().out


def test_validate_lists_errors_and_fails(manifest, capsys):
    add(manifest, "broken")
    assert run("validate", str(manifest)) == 1
    output = capsys.readouterr().out
    assert f"{manifest}:41: error: not JSON at column 1" in output
    assert "41 rows = 40 usable + 1 unusable" in output


def test_validate_json(manifest, capsys):
    add(manifest, "broken")
    assert run("validate", str(manifest), "--json") == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["num_rows"], report["num_usable"], report["num_unusable"]) == (41, 40, 1)
    assert report["problems"][0]["where"] == f"{manifest}:41"
    assert report["is_clean"] is False


def test_split_writes_three_manifests(manifest, tmp_path, capsys):
    output = tmp_path / "parts"
    assert run("split", str(manifest), "--output", str(output), "--dev", "0.2", "--test", "4", "--seed", "1") == 0
    parts = {name: read_manifest(output / f"{name}.jsonl") for name in ("train", "dev", "test")}
    assert {name: len(part) for name, part in parts.items()} == {"train": 28, "dev": 8, "test": 4}
    assert parts["dev"][0].samples(16_000).shape == (16_000,)
    assert f"{output / 'dev.jsonl'}: 8 rows, 2 speakers" in capsys.readouterr().out


def test_split_json_and_unknown_speakers(tmp_path, manifest, capsys):
    add(manifest, json.dumps({"id": "x", "audio": "a.wav", "text": "seul"}))
    assert run("split", str(manifest), "--output", str(tmp_path / "o"), "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["unknown_speakers"] == 1
    assert sum(part["rows"] for part in summary["parts"]) == 41
    assert run("split", str(manifest), "--output", str(tmp_path / "o")) == 0
    assert "1 rows name no speaker" in capsys.readouterr().out


def test_split_that_cannot_be_written(manifest, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        run("split", str(manifest), "--output", str(tmp_path / "file"))


def test_split_with_impossible_sizes_is_wrong_usage(manifest, tmp_path):
    with pytest.raises(UsageError) as caught:
        run("split", str(manifest), "--output", str(tmp_path), "--dev", "-1")
    assert caught.value.exit_code == 2


def test_leak(manifest, tmp_path, capsys):
    other = tmp_path / "other.jsonl"
    soundfile.write(tmp_path / "b.wav", 0.1 * np.cos(np.arange(16_000) / 7), 16_000)
    other.write_text('{"audio": "b.wav", "text": "Tout à fait neuf.", "language": "fr"}\n', encoding="utf-8")
    assert run("leak", str(manifest), str(other)) == 0
    assert "0 of 1 test utterances leak from 40 of train" in capsys.readouterr().out
    other.write_text('{"audio": "b.wav", "text": "Phrase 7 !", "language": "fr"}\n', encoding="utf-8")
    assert run("leak", str(manifest), str(other)) == 1
    output = capsys.readouterr().out
    assert "sentence in both: phrase 7 (train 1, test 1 utterances)" in output
    assert "1 of 1 test utterances leak" in output
    assert run("leak", str(manifest), str(other), "--json") == 1
    assert json.loads(capsys.readouterr().out)["leaked_ids"] == ["b"]


def test_long_lists_are_cut_and_say_so(manifest, capsys):
    assert run("leak", str(manifest), str(manifest)) == 1
    assert "and 30 more sentences (all with --json)" in capsys.readouterr().out


def test_show(manifest, capsys):
    assert run("show", str(manifest), "--rows", "2") == 0
    output = capsys.readouterr().out
    assert output.count("phrase") == 2
    assert f"{manifest}: 40 rows, 0.01 h, 10 speakers, languages: fr 40" in output
    assert run("show", str(manifest), "--json", "--rows", "1") == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["rows"], summary["languages"], len(summary["first"])) == (40, {"fr": 40}, 1)
    assert summary["fingerprint"] == read_manifest(manifest).fingerprint()


def test_show_refuses_bad_rows_unless_told(manifest, capsys):
    add(manifest, "broken")
    with pytest.raises(DataError, match="1 of 41 rows"):
        run("show", str(manifest))
    assert run("show", str(manifest), "--skip-bad") == 0
    assert "1 problems" in capsys.readouterr().out


@pytest.mark.parametrize("words", [[], ["validate"], ["split", "x"], ["frobnicate"], ["leak", "x"]])
def test_wrong_usage(words, capsys):
    with pytest.raises(SystemExit) as caught:
        run(*words)
    assert caught.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_importing_the_verb_is_light():
    code = (
        "import sys, asr_headroom.cli.data;"
        "print([m for m in ('numpy', 'soundfile', 'torch', 'datasets', 'rapidfuzz') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_reading_files_loads_no_torch_nor_datasets():
    code = (
        "import sys, asr_headroom.data.validate, asr_headroom.data.leak, asr_headroom.data.split;"
        "print([m for m in ('torch', 'datasets', 'transformers', 'pandas') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
