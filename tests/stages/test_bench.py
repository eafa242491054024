"""bench: one run directory per model and test set, repeated for nothing, never mixed up."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from asr_headroom.errors import DataError, ResultsError
from asr_headroom.stages import bench as stage
from asr_headroom.stages.bench import BenchConfig, bench
from asr_headroom.stages.data import load_data
from asr_headroom.stages.model_facts import default_name
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_whisper


def config(model, tones, tmp_path, **changes):
    settings = {"models": (str(model),), "data": (str(tones),), "output": str(tmp_path / "out"), "max_new_tokens": 6}
    return BenchConfig(**(settings | changes))


def test_a_run_says_what_was_run(tiny_model, tones, tmp_path):
    (result,) = bench(config(tiny_model, tones, tmp_path, window="fit"))
    assert result.path == tmp_path / "out/tiny/tones-test"
    run = result.run
    assert (run.name, run.status, run.language) == ("tiny", "complete", "en")
    assert run.decoding["window"] == "fit"
    assert run.decoding["max_new_tokens"] == 6
    assert run.normalizer["id"] == "en"
    assert run.model["parameters"] == tiny_whisper(layers=2).card.parameters
    assert run.model["language_mismatch"] is False
    assert run.data["num_utterances"] == 8
    assert run.provenance["packages"]["torch"]
    assert run.minutes["transcribe"] > 0
    assert {p.id for p in result.predictions} == {f"u{i}" for i in range(8)}


def test_repeating_a_bench_loads_no_model(tiny_model, tones, tmp_path, monkeypatch):
    settings = config(tiny_model, tones, tmp_path)
    first = bench(settings)

    def refuse(*_, **__):
        raise AssertionError("the model was loaded again")

    monkeypatch.setattr(stage, "load_model", refuse)
    assert bench(settings) == first


def test_other_settings_in_the_same_place_are_refused(tiny_model, tones, tmp_path):
    bench(config(tiny_model, tones, tmp_path))
    with pytest.raises(ResultsError, match="holds another run"):
        bench(config(tiny_model, tones, tmp_path, window="fit"))


@pytest.mark.parametrize("change", [{"window": "fit"}, {"dtype": "bfloat16"}, {"beam_size": 2}])
def test_what_changes_outputs_changes_the_decoding_hash(tiny_model, tones, tmp_path, change):
    (plain,) = bench(config(tiny_model, tones, tmp_path, output=str(tmp_path / "a")))
    (other,) = bench(config(tiny_model, tones, tmp_path, output=str(tmp_path / "b"), **change))
    assert plain.run.decoding_hash != other.run.decoding_hash
    assert next(iter(change.values())) in other.run.decoding.values()


def test_long_utterances_are_refused_or_counted(tmp_path, tones):
    tiny_whisper(window_seconds=1, layers=2).save_pretrained(tmp_path / "short")
    rows = [json.loads(line) for line in Path(tones).read_text().splitlines()]
    for row in rows:
        row["audio"] = str(Path(tones).parent / row["audio"])
    (tmp_path / "long.wav").write_bytes(tone_utterance("abcdef").audio)
    long = rows[0] | {"id": "long", "audio": str(tmp_path / "long.wav"), "duration": 1.5}
    manifest = tmp_path / "m.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in [*rows, long]))
    with pytest.raises(DataError, match=r"1 of 9 utterances are longer than the 1 s"):
        bench(config(tmp_path / "short", manifest, tmp_path))
    # The corrected command works in the same place: nothing was predicted before the refusal.
    (result,) = bench(config(tmp_path / "short", manifest, tmp_path, max_duration=1.0))
    assert result.run.data["left_out"] == {"longer than 1 s": 1}
    assert len(result.predictions) == 8


def test_a_language_the_model_was_not_made_for_is_marked(tmp_path, tones):
    tiny_whisper(multilingual=False).save_pretrained(tmp_path / "english")
    text = Path(tones).read_text().replace('"en"', '"fr"').replace('"audio/', f'"{Path(tones).parent}/audio/')
    (tmp_path / "french.jsonl").write_text(text)
    (result,) = bench(config(tmp_path / "english", tmp_path / "french.jsonl", tmp_path))
    assert result.run.model["language_mismatch"] is True
    assert result.run.normalizer["id"] == "fr"


def test_names():
    assert default_name("openai/whisper-small") == "whisper-small"
    assert default_name("runs/fr-lora/model/") == "fr-lora"
    assert default_name("./tiny") == "tiny"
    assert default_name("model") == "model"


def two_rows(folder, tones):
    rows = [json.loads(line) for line in Path(tones).read_text().splitlines()[:2]]
    rows[0]["audio"] = str(Path(tones).parent / rows[0]["audio"])
    rows[1]["audio"] = "gone.wav"
    manifest = folder / "gone.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return manifest


def test_a_missing_recording_is_named_with_its_line_before_anything_runs(tiny_model, tones, tmp_path):
    manifest = two_rows(tmp_path, tones)
    with pytest.raises(DataError, match=r"1 of 2 rows are not there(?s:.*)gone\.jsonl:2: .*gone\.wav: no such file"):
        bench(config(tiny_model, manifest, tmp_path))
    assert not (tmp_path / "out").exists()


def test_a_missing_recording_is_left_out_and_counted_when_that_is_asked_for(tiny_model, tones, tmp_path):
    (result,) = bench(config(tiny_model, two_rows(tmp_path, tones), tmp_path, skip_bad=True))
    assert [prediction.id for prediction in result.predictions] == ["u0"]
    assert result.run.data["left_out"] == {"recording not there": 1}


def test_another_window_than_in_training_is_said(tiny_model, tones, tmp_path, caplog):
    folder = tmp_path / "trained" / "model"
    shutil.copytree(tiny_model, folder)
    (folder / "headroom.json").write_text(json.dumps({"window": "fit"}))
    bench(config(folder, tones, tmp_path, window="fit"))
    assert "was trained with" not in caplog.text
    bench(config(folder, tones, tmp_path, window="full", output=str(tmp_path / "full")))
    assert "trained was trained with --window fit and is decoded here with --window full" in caplog.text


def test_rows_without_a_language_are_said(tones, tmp_path, caplog):
    rows = [json.loads(line) for line in Path(tones).read_text().splitlines()[:2]]
    for row in rows:
        row["audio"] = str(Path(tones).parent / row["audio"])
        del row["language"]
    manifest = tmp_path / "nameless.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    load_data(str(manifest))
    assert "2 of 2 utterances name no language; give --language" in caplog.text
    caplog.clear()
    load_data(str(manifest), language="en")
    assert "name no language" not in caplog.text
