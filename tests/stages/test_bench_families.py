"""``bench`` over several families in one process: lists, failures of one model, memory, killed and repeated."""

from __future__ import annotations

import gc
import json
import shutil
import subprocess
import sys
import time
import weakref
from pathlib import Path

import pytest
import torch

from asr_headroom.cli.main import main
from asr_headroom.errors import ConfigError, DataError, ModelError
from asr_headroom.evaluate.transcribe import transcribe_manifest
from asr_headroom.metrics.error_rate import ErrorCounts, count_pair
from asr_headroom.models.registry import load_model
from asr_headroom.results.store import load_results, load_run
from asr_headroom.stages import bench as stage
from asr_headroom.stages.bench import BenchConfig, bench, bench_models
from asr_headroom.testing import tiny
from asr_headroom.text.normalize import get_normalizer


@pytest.fixture(scope="module")
def families(tmp_path_factory) -> dict[str, Path]:
    """Folders of three tiny models of three families; the transducer has no N-best lists."""
    root = tmp_path_factory.mktemp("families")
    for name in ("whisper", "wav2vec2_ctc", "parakeet_tdt"):
        getattr(tiny, f"tiny_{name}")().save_pretrained(root / name)
    return {path.name: path for path in sorted(root.iterdir())}


def config(models, tones, tmp_path, **changes) -> BenchConfig:
    settings = {"data": (str(tones),), "output": str(tmp_path / "out"), "max_new_tokens": 6, "batch_size": 3}
    return BenchConfig(models=tuple(map(str, models)), **(settings | changes))


def test_several_families_with_what_each_can(families, tones, tmp_path):
    results = bench(config(families.values(), tones, tmp_path, nbest=3))
    by_name = {result.run.name: result for result in results}
    assert list(by_name) == ["parakeet_tdt", "wav2vec2_ctc", "whisper"]
    for name in ("wav2vec2_ctc", "whisper"):
        run = by_name[name].run
        assert run.decoding["nbest"] == 3
        assert "nbest" not in run.measured
        assert all(1 <= len(p.nbest) <= 3 for p in by_name[name].predictions)
    refused = by_name["parakeet_tdt"]
    assert "'parakeet-tdt' searches for one hypothesis only" in refused.run.measured["nbest"]["reason"]
    assert "nbest" not in refused.run.decoding
    assert not any(p.nbest for p in refused.predictions)
    for result in results:
        assert result.run.model["parameters"] == load_model(result.run.model["id"]).card.parameters
        assert result.run.measured["speed"]["batch_size"] == 3


def test_lists_change_no_decoding_hash(families, tones, tmp_path):
    (plain,) = bench(config([families["whisper"]], tones, tmp_path, output=str(tmp_path / "plain")))
    (listed,) = bench(config([families["whisper"]], tones, tmp_path, nbest=2))
    assert plain.run.decoding_hash == listed.run.decoding_hash
    assert [p.hypothesis for p in plain.predictions] == [p.hypothesis for p in listed.predictions]


def broken_copy(model: Path, target: Path) -> Path:
    """A folder whose weights are cut in half."""
    shutil.copytree(model, target)
    weights = target / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    return target


def test_a_model_that_cannot_be_loaded_loses_its_own_row_only(families, tones, tmp_path, capsys):
    broken = broken_copy(families["whisper"], tmp_path / "broken")
    models = [str(broken), str(families["whisper"]), str(tmp_path / "nowhere"), str(families["wav2vec2_ctc"])]
    words = ["bench", "--models", *models, "--data", str(tones), "--output", str(tmp_path / "out"), "--quiet"]
    assert main([*words, "--max-new-tokens", "6"]) == 1
    told = capsys.readouterr()
    assert "| whisper |" in told.out
    assert "| wav2vec2_ctc |" in told.out
    assert "2 of 4 rows are missing; the others are complete" in told.err
    assert f"{broken} on " in told.err
    assert "no such folder" in told.err
    # Repaired, the same command fills the gap and repeats nothing.
    written = {path: path.read_bytes() for path in (tmp_path / "out").rglob("predictions.jsonl")}
    for name, model in (("broken", "whisper"), ("nowhere", "parakeet_tdt")):
        shutil.rmtree(tmp_path / name, ignore_errors=True)
        shutil.copytree(families[model], tmp_path / name)
    assert main([*words, "--max-new-tokens", "6"]) == 0
    assert len(list((tmp_path / "out").rglob("predictions.jsonl"))) == 4
    assert all(path.read_bytes() == before for path, before in written.items())


def test_one_model_that_fails_alone_keeps_its_own_error(families, tones, tmp_path):
    broken = broken_copy(families["whisper"], tmp_path / "broken")
    with pytest.raises(ModelError, match="cannot load"):
        bench(config([broken], tones, tmp_path))


@pytest.mark.parametrize(
    "failure", [ValueError("four\n is no number"), DataError("a recording is too long"), MemoryError()]
)
def test_what_nobody_foresaw_loses_one_row_and_leaves_nothing_in_memory(
    failure, families, tones, tmp_path, monkeypatch
):
    modules = []

    def transcribe(model, *arguments, **options):
        modules.append(weakref.ref(model.module))
        if model.card.family == "whisper":
            raise failure
        return transcribe_manifest(model, *arguments, **options)

    monkeypatch.setattr(stage, "transcribe_manifest", transcribe)
    outcome = bench_models(config([families["whisper"], families["wav2vec2_ctc"]], tones, tmp_path))
    assert [result.run.name for result in outcome.results] == ["wav2vec2_ctc"]
    (lost,) = outcome.failures
    told = {
        ValueError: "fails with ValueError: four is no number",
        DataError: "a recording is too long",
        MemoryError: "does not fit in memory",
    }
    assert told[type(failure)] in str(lost.error)
    gc.collect()
    assert [module() for module in modules] == [None, None]


def test_a_model_named_twice_is_one_row(families, tones, tmp_path):
    assert len(bench(config([families["whisper"]] * 2, tones, tmp_path))) == 1


def test_test_sets_of_one_name_are_refused_before_anything_is_transcribed(families, tones, tmp_path):
    again = tmp_path / "elsewhere" / tones.parent.name / tones.name
    again.parent.mkdir(parents=True)
    again.write_text(
        "".join(tones.read_text().splitlines(keepends=True)[:2]).replace('"audio": "', f'"audio": "{tones.parent}/')
    )
    both = config([families["whisper"]], tones, tmp_path, data=(str(tones), str(again)))
    with pytest.raises(ConfigError, match="would both be called"):
        bench(both)
    assert not (tmp_path / "out").exists()
    assert len(bench(config([families["whisper"]], tones, tmp_path, data=(str(tones), str(tones))))) == 1


def test_a_failure_is_told_once_for_each_test_set_and_the_model_tried_once(families, tones, tmp_path, monkeypatch):
    again = tones.parent / "again.jsonl"
    again.write_text(tones.read_text())
    tried = []

    def load(model_id, **options):
        tried.append(Path(model_id).name)
        return load_model(model_id, **options)

    monkeypatch.setattr(stage, "load_model", load)
    models = [tmp_path / "nowhere", families["whisper"]]
    outcome = bench_models(config(models, tones, tmp_path, data=(str(tones), str(again))))
    assert tried == ["nowhere", "whisper"]
    assert [failure.name.split(" on ")[1] for failure in outcome.failures] == ["tones/test", "tones/again"]
    assert len(outcome.results) == 2


def test_memory_that_runs_out_in_one_model_is_met_with_smaller_batches(families, tones, tmp_path, monkeypatch):
    class Small:
        def __init__(self, model):
            self._model = model

        def __getattr__(self, name):
            return getattr(self._model, name)

        def transcribe(self, batch, options):
            if len(batch) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
            return self._model.transcribe(batch, options)

    whole = bench(config(families.values(), tones, tmp_path, output=str(tmp_path / "whole")))
    monkeypatch.setattr(stage, "load_model", lambda *words, **options: Small(load_model(*words, **options)))
    split = bench(config(families.values(), tones, tmp_path))
    for one, other in zip(whole, split, strict=True):
        assert one.predictions == other.predictions
        assert "batch" not in one.run.measured
    assert split[-1].run.name == "whisper"
    assert split[-1].run.measured["batch"] == {"asked": 3, "fits": 2}


def test_two_models_of_one_name_are_refused_before_anything_runs(families, tones, tmp_path):
    shutil.copytree(families["whisper"], tmp_path / "other" / "whisper")
    with pytest.raises(ConfigError, match=r"would both be called 'whisper'; rename"):
        bench(config([families["whisper"], tmp_path / "other" / "whisper"], tones, tmp_path))
    assert not (tmp_path / "out").exists()


def oracle_by_hand(result) -> float:
    """The best of each list and of the hypothesis, by counting every candidate."""
    normalizer = get_normalizer(result.run.normalizer["id"])
    best = []
    for p in result.predictions:
        counts = [count_pair(p.reference, text, normalizer).of(normalizer.unit) for text in (p.hypothesis, *p.nbest)]
        best.append(min(counts, key=lambda one: one.errors))
    return ErrorCounts.total(best).error_rate


def test_the_table_has_the_oracle_of_those_that_list(families, tones, tmp_path, capsys):
    words = ["bench", "--models", *map(str, families.values()), "--data", str(tones), "--nbest", "3", "--quiet"]
    assert main([*words, "--max-new-tokens", "6", "--output", str(tmp_path / "out"), "--json"]) == 0
    (table,) = json.loads(capsys.readouterr().out)
    rows = {row["name"]: row for row in table["rows"]}
    for name in ("whisper", "wav2vec2_ctc"):
        result = load_results(tmp_path / "out" / name / "tones-test")
        assert rows[name]["oracle_rate"] == pytest.approx(oracle_by_hand(result))
        assert rows[name]["oracle_rate"] <= rows[name]["rate"]
    assert rows["parakeet_tdt"]["oracle_rate"] is None


# ---------------------------------------------------------------------- killed


def words(families, tones, output) -> list[str]:
    models = [str(families[name]) for name in ("whisper", "wav2vec2_ctc")]
    options = ["--nbest", "2", "--batch-size", "1", "--max-new-tokens", "30", "--quiet"]
    return ["bench", "--models", *models, "--data", str(tones), "--output", str(output), *options]


def predictions(output: Path) -> dict[str, bytes]:
    return {str(path.relative_to(output)): path.read_bytes() for path in sorted(output.rglob("predictions.jsonl"))}


def wait_for(process: subprocess.Popen, path: Path, lines: int) -> None:
    """Returns once a predictions file has so many lines, or the process has ended."""
    while process.poll() is None and (not path.exists() or path.read_bytes().count(b"\n") < lines):
        time.sleep(0.002)


def test_killed_in_each_family_and_repeated_loses_and_doubles_nothing(families, tones, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert main(words(families, tones, whole)) == 0
    hits = 0
    for name, lines in (("whisper", 2), ("wav2vec2_ctc", 0), ("wav2vec2_ctc", 3)):
        command = [sys.executable, "-m", "asr_headroom", *words(families, tones, cut)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(process, cut / name / "tones-test/predictions.jsonl", lines)
        hits += process.poll() is None
        process.kill()
        process.wait()
    assert hits  # a run this short may end before the last of them
    assert main(words(families, tones, cut)) == 0
    assert predictions(cut) == predictions(whole)
    for path in sorted(cut.rglob("run.json")):
        assert load_run(path.parent).status == "complete"
        ids = [prediction.id for prediction in load_results(path.parent).predictions]
        assert sorted(ids) == [f"u{i}" for i in range(8)]
