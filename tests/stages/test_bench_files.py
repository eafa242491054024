"""Files of predictions as rows of a bench: they stand beside models, or are refused with what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from asr_headroom.cli.main import main
from asr_headroom.data.readers import read_manifest
from asr_headroom.errors import ConfigError, ResultsError
from asr_headroom.metrics.error_rate import count_pair
from asr_headroom.report.tables import build_tables, to_markdown
from asr_headroom.results.store import load_run
from asr_headroom.stages.bench import BenchConfig, bench
from asr_headroom.text.normalize import get_normalizer


@pytest.fixture
def utterances(tones):
    return list(read_manifest(str(tones)))


@pytest.fixture
def heard(utterances, tmp_path) -> Path:
    """Ids and hypotheses, half of them wrong, in another order than the manifest, as lines of JSON."""
    rows = [{"id": u.id, "hypothesis": u.text if i % 2 else "x" + u.text} for i, u in enumerate(utterances)]
    return write(tmp_path / "sensevoice.jsonl", reversed(rows))


def write(path: Path, rows) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def config(tones, tmp_path, *predictions, **changes) -> BenchConfig:
    settings = {"data": (str(tones),), "output": str(tmp_path / "out"), "max_new_tokens": 6}
    return BenchConfig(predictions=tuple(map(str, predictions)), **(settings | changes))


def test_a_file_stands_beside_a_model_on_the_same_test(tiny_model, tones, heard, utterances, tmp_path):
    model, row = bench(config(tones, tmp_path, f"SenseVoice={heard}", models=(str(tiny_model),)))
    assert (row.run.name, row.run.kind, row.run.status) == ("SenseVoice", "import", "complete")
    assert row.path == tmp_path / "out/SenseVoice/tones-test"
    assert {p.id: p.reference for p in row.predictions} == {u.id: u.text for u in utterances}
    assert {p.speaker for p in row.predictions} == {p.speaker for p in model.predictions} != {None}
    english = get_normalizer("en")
    for prediction in row.predictions:
        assert prediction.counts == count_pair(prediction.reference, prediction.hypothesis, english)
    (table,) = build_tables([model, row])
    assert [one.name for one in table.rows] == ["tiny", "SenseVoice"]
    assert table.rows[1].score.estimate.rate == 0.5
    assert "| SenseVoice | – |" in to_markdown([table])


@pytest.mark.parametrize("form", ["references of its own", "no ids", "a run", "trn"])
def test_forms_of_one_set_of_predictions_agree(tones, heard, utterances, tmp_path, form):
    (first,) = bench(config(tones, tmp_path, heard))
    by_id = {p.id: p for p in first.predictions}
    path = tmp_path / "other.jsonl"
    rows = [{"id": u.id, "reference": u.text + ".", "hypothesis": by_id[u.id].hypothesis} for u in utterances]
    if form == "references of its own":
        write(path, rows)
    elif form == "no ids":
        write(path, ({k: v for k, v in row.items() if k != "id"} for row in rows))
    elif form == "a run":
        path = first.path
    else:
        path.write_text("".join(f"{by_id[u.id].hypothesis} ({u.id})\n" for u in utterances))
    (again,) = bench(config(tones, tmp_path, f"again={path}", output=str(tmp_path / "again")))
    assert again.predictions == first.predictions


def test_what_is_missing_is_named_before_any_model_is_loaded(tones, heard, tmp_path):
    rows = [json.loads(line) for line in heard.read_text().splitlines()]
    short = write(tmp_path / "short.jsonl", [row for row in rows if row["id"] not in ("u2", "u5")])
    with pytest.raises(ResultsError, match=r"short.jsonl: 2 of 8 utterances of 'tones/test' .*\('u2', 'u5'; the file"):
        bench(config(tones, tmp_path, short, models=("no/such-model",)))


def test_plain_lines_without_ids_are_told_what_they_lack(tones, heard, tmp_path):
    plain = tmp_path / "plain.txt"
    plain.write_text("".join(json.loads(line)["hypothesis"] + "\n" for line in heard.read_text().splitlines()))
    with pytest.raises(
        ResultsError, match=r"but .*plain.txt does not; write plain.txt with ids \(JSON lines .* 'ID TEXT'"
    ):
        bench(config(tones, tmp_path, plain))


def test_a_file_of_another_test_is_refused(tones, utterances, tmp_path):
    strangers = write(tmp_path / "a.jsonl", [{"id": f"x{i}", "hypothesis": "a"} for i in range(8)])
    with pytest.raises(ResultsError, match=r"none of its 8 ids \(such as 'x0'\) is among the 8 of"):
        bench(config(tones, tmp_path, strangers))
    others = [{"id": u.id, "reference": u.text + " more", "hypothesis": "a"} for u in utterances]
    with pytest.raises(
        ResultsError, match=r"8 of 8 references are not those of 'tones/test': of 'u0' it says 'abc more'"
    ):
        bench(config(tones, tmp_path, write(tmp_path / "b.jsonl", others)))


def test_rows_of_no_utterance_here_are_left_out_and_said(tones, heard, tmp_path):
    (row,) = bench(config(tones, tmp_path, heard, limit=4))
    assert [p.id for p in row.predictions] == ["u0", "u1", "u2", "u3"]
    assert any("4" in note and "left out" in note for note in row.run.data["notes"])


def test_each_file_finds_its_test_set(tones, heard, utterances, tmp_path):
    half = write(tones.parent / "half.jsonl", map(json.loads, tones.read_text().splitlines()[:4]))
    first = [{"id": u.id, "hypothesis": u.text} for u in utterances[:4]]
    part = write(tmp_path / "part.jsonl", first)
    rows = bench(config(tones, tmp_path, heard, part, data=(str(tones), str(half))))
    assert [(row.run.name, row.run.data["name"]) for row in rows] == [
        ("sensevoice", "tones/test"),
        ("sensevoice", "tones/half"),
        ("part", "tones/half"),
    ]
    stranger = write(tmp_path / "stranger.jsonl", [{"id": "x", "hypothesis": "a"}])
    with pytest.raises(ResultsError, match=r"stranger.jsonl: belongs to no test set:\n .*\n "):
        bench(config(tones, tmp_path, stranger, data=(str(tones), str(half))))


def test_a_changed_file_is_read_anew_and_an_unchanged_one_is_not_written(tones, heard, tmp_path):
    (first,) = bench(config(tones, tmp_path, heard))
    stamp = (first.path / "run.json").stat().st_mtime_ns
    (same,) = bench(config(tones, tmp_path, heard))
    assert (same.path / "run.json").stat().st_mtime_ns == stamp
    heard.write_text(heard.read_text().replace("xabc", "abc"))
    (changed,) = bench(config(tones, tmp_path, heard))
    assert changed.path == first.path
    assert changed.run.model["predictions"] != first.run.model["predictions"]
    assert next(p.hypothesis for p in changed.predictions if p.id == "u0") == "abc"


def test_a_row_whose_writing_was_killed_is_written_again(tones, heard, tmp_path):
    (first,) = bench(config(tones, tmp_path, heard))
    whole = (first.path / "predictions.jsonl").read_bytes()
    (first.path / "predictions.jsonl").write_bytes(whole[:50])
    plain = json.loads((first.path / "run.json").read_text())
    (first.path / "run.json").write_text(json.dumps(plain | {"status": "running"}))
    bench(config(tones, tmp_path, heard))
    assert (first.path / "predictions.jsonl").read_bytes() == whole
    assert load_run(first.path).status == "complete"


def test_names_that_meet_are_refused(tiny_model, tones, heard, tmp_path):
    with pytest.raises(ConfigError, match=r"would both be called 'tiny'.*NAME=PATH"):
        bench(config(tones, tmp_path, f"tiny={heard}", models=(str(tiny_model),)))
    bench(config(tones, tmp_path, models=(str(tiny_model),)))
    with pytest.raises(ResultsError, match=r"holds what a model transcribed here; give the file another name"):
        bench(config(tones, tmp_path, f"tiny={heard}"))


def test_the_command_shows_files_and_draws(tiny_model, tones, heard, tmp_path, capsys):
    words = ["bench", "--models", str(tiny_model), "--predictions", f"OWSM-CTC={heard}", "--data", str(tones)]
    assert main([*words, "--max-new-tokens", "6", "--output", str(tmp_path / "out"), "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "| OWSM-CTC | – |" in out
    assert out.count("### tones/test") == 1
    svg = (tmp_path / "out/bench-1.svg").read_text()
    assert "OWSM-CTC" in svg
    assert "not timed" in svg
    assert (tmp_path / "out/tables.json").is_file()
    assert "\nOWSM-CTC,,,,," in (tmp_path / "out/bench-1.csv").read_text()
