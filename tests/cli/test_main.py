"""The command line as a user meets it: exit codes, help, no traceback."""

from __future__ import annotations

import json

import pytest

from asr_headroom.cli.main import VERBS, main
from asr_headroom.testing.synthetic import tone_utterance


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
        (["bench"], 2, "'data' is missing"),
        (["bench", "--data", "x"], 2, "at least one model or file of predictions"),
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
    assert main(["bench", "--models", "x", "--data", "y", "--set", "batch_size=8", "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert "batch_size: 8" in text
    assert "beam_size: 1" in text


def test_dry_run_of_train_forecasts_without_a_weight(capsys, tmp_path):
    (tmp_path / "tone.wav").write_bytes(tone_utterance("abcdefgh").audio)
    rows = [{"id": str(i), "audio": "tone.wav", "text": "abcdefgh", "duration": 2.0} for i in range(100)]
    rows.append({"id": "long", "audio": "tone.wav", "text": "a", "duration": 31.0})
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["train", "--model", "openai/whisper-tiny", "--train", str(tmp_path / "m.jsonl"), "--dev", "z"]
    words += ["--language", "en", "--num-train-epochs", "2", "--set", "lora.rank=8", "--dry-run"]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "rank: 8" in text
    # 4 encoder and 4 decoder layers, 4 and 8 square projections of width 384 each, rank 8 on both sides.
    assert f"# model: 37,760,640 parameters, {(4 * 4 + 4 * 8) * 2 * 8 * 384:,} of them trained" in text
    assert "# data: 100 utterances, 3.3 min of audio, 1 too long for the model" in text
    assert "# steps: 14 of 16 utterances (2.00 epochs)" in text
    assert "# memory: about" in text


def test_dry_run_of_train_counts_what_rests_packed_states_and_shards(capsys, tmp_path):
    (tmp_path / "tone.wav").write_bytes(tone_utterance("abcdefgh").audio)
    (tmp_path / "m.jsonl").write_text('{"audio": "tone.wav", "text": "abcdefgh", "duration": 2.0}\n')
    words = ["train", "--model", "openai/whisper-large-v3", "--train", str(tmp_path / "m.jsonl"), "--dev", "z"]
    words += ["--language", "en", "--method", "full", "--per-device-train-batch-size", "1", "--dry-run"]

    def told(*more):
        assert main([*words, *more]) == 0
        text = capsys.readouterr().out
        return float(text.split("# memory: about ")[1].split(" GB")[0]), text

    plain, _ = told()
    resting, text = told("--freeze", "encoder", "model.decoder.layers.0")
    # 637 M weights of the encoder (its positions never move) and 26 M of a decoder layer need no gradient, no state.
    assert plain - resting > 12 * (0.635 + 0.026)
    assert "# model: 1,543,490,560 parameters, 880,2" in text
    packed, _ = told("--optim", "adamw-8bit")
    assert 5.5 * 1.5 < plain - packed < 6 * 1.55
    shards, text = told("--fsdp")
    assert 0.3 * plain < plain - shards < 0.6 * plain
    assert "on each of 2 processes" in text
    assert main([*words, "--freeze", "encodr"]) == 2
    assert "did you mean 'encoder'" in capsys.readouterr().err


def test_dry_run_of_train_says_what_it_cannot_know(capsys, tmp_path):
    assert main(["train", "--model", "somebody/unknown", "--train", "y", "--dev", "z", "--dry-run"]) == 1
    assert "somebody/unknown" in capsys.readouterr().err


def test_interruption_says_how_to_go_on(capsys, monkeypatch):
    import asr_headroom.cli.normalize as verb

    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(verb, "run", interrupted)
    assert main(["normalize", "x"]) == 130
    assert "run the same command again" in capsys.readouterr().err


def test_a_flag_behind_the_verb_of_a_noun_is_told_its_place(capsys):
    assert main(["data", "show", "x.jsonl", "--quiet"]) == 2
    told = capsys.readouterr().err
    assert "put it before the verb" in told
    assert "did you mean" not in told
