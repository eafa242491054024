"""Recipes: checked before anything runs, executed in order, skipped when done."""

from __future__ import annotations

import json

import pytest

from asr_headroom.data.manifest import write_manifest
from asr_headroom.errors import ConfigError, DataError
from asr_headroom.recipes.run import load_recipe, recipe_names, run_recipe
from asr_headroom.recipes.workers import Workers
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_whisper

RECIPE = """
name: tiny
description: bench, train, bench, compare, report
steps:
  - name: base
    bench: {{models: ["{model}"], data: ["{data}"], window: fit, max_new_tokens: 8}}
  - name: full
    train: {{model: "{model}", train: "{data}", dev: "{data}", method: full, learning_rate: 3.0e-3, max_steps: 60,
            eval_steps: 30, window: fit, logging_steps: 30, guard: {{enabled: false}}}}
  - name: tuned
    bench: {{models: ["${{full}}/model"], data: ["{data}"], window: fit, max_new_tokens: 8}}
  - name: verdict
    compare: {{base: "${{base}}", system: "${{tuned}}", cluster: utterance}}
  - name: page
    report: {{runs: ["${{base}}", "${{tuned}}"]}}
"""


@pytest.fixture
def recipe(tmp_path):
    """A recipe on disk with its model and its data."""
    from dataclasses import replace

    texts = ["abc", "cab", "bad", "dab", "fad", "face", "bead", "deaf"]
    (tmp_path / "audio").mkdir()
    speech = []
    for index, text in enumerate(texts):
        utterance = tone_utterance(text, id=f"u{index}")
        path = tmp_path / "audio" / f"{index}.wav"
        path.write_bytes(utterance.audio)
        speech.append(replace(utterance, audio=path))
    write_manifest(tmp_path / "tones" / "test.jsonl", speech)
    tiny_whisper(layers=2).save_pretrained(tmp_path / "tiny")
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.format(model=tmp_path / "tiny", data=tmp_path / "tones/test.jsonl"))
    return path


def test_runs_the_whole_path_once(recipe, tmp_path):
    said: list[str] = []
    run_recipe(str(recipe), output=tmp_path / "out", say=said.append)
    verdict = json.loads((tmp_path / "out/verdict/compare.json").read_text())
    assert verdict["n"] == 8
    assert verdict["system"] < verdict["base"]
    assert any(line.startswith(verdict["verdict"][:10]) for line in said)
    page = (tmp_path / "out/page/index.html").read_text()
    assert "tones/test" in page
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.jsonl")}
    again: list[str] = []
    run_recipe(str(recipe), output=tmp_path / "out", say=again.append)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.jsonl")} == before
    assert verdict["verdict"] in again


ABLATION = """
name: race
steps:
  - name: race
    ablate: {{model: "{model}", train: "{data}", dev: "{data}", method: full, max_steps: 4, eval_steps: 4, window: fit,
             rungs: [0.5], guard: {{enabled: false}}, grid: {{{field}: [1.0e-9, 3.0e-3]}}}}
  - name: tuned
    bench: {{models: ["${{race}}/model"], data: ["{data}"], window: fit, max_new_tokens: 8}}
  - name: page
    report: {{runs: ["${{tuned}}"]}}
"""


def test_an_ablation_is_a_step_and_a_section_of_the_page(recipe, tmp_path):
    names = {"model": tmp_path / "tiny", "data": tmp_path / "tones/test.jsonl"}
    recipe.write_text(ABLATION.format(field="learning_rat", **names))
    with pytest.raises(ConfigError, match="unknown field 'learning_rat'; did you mean 'learning_rate'"):
        load_recipe(str(recipe))
    recipe.write_text(ABLATION.format(field="learning_rate", **names))
    said: list[str] = []
    run_recipe(str(recipe), output=tmp_path / "out", say=said.append)
    chosen = json.loads((tmp_path / "out/race/ablation.json").read_text())["chosen"]
    assert f"{chosen} is the best on dev" in "\n".join(said)
    page = (tmp_path / "out/page/index.html").read_text()
    assert "Settings that were tried" in page
    assert "dropped by rank at 50 %" in page
    again: list[str] = []
    run_recipe(str(recipe), output=tmp_path / "out", say=again.append)
    assert again[:4] == said[:4]


def test_a_changed_step_is_never_taken_for_the_one_that_was_run(recipe, tmp_path):
    first, second = load_recipe(str(recipe)), load_recipe(str(recipe), ["base.batch_size=2"])
    changed = {name for name in first.fingerprints if first.fingerprints[name] != second.fingerprints[name]}
    assert changed == {"base", "verdict", "page"}
    (tmp_path / "out/.done").mkdir(parents=True)
    (tmp_path / "out/.done/base.json").write_text(json.dumps({"fingerprint": first.fingerprints["base"]}))
    with pytest.raises(ConfigError, match="was run with other settings of base"):
        run_recipe(str(recipe), output=tmp_path / "out", overrides=["base.batch_size=2"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps: []", "non-empty list 'steps'"),
        ("name: x\nsteps: 3", "non-empty list 'steps'"),
        ("nonsense: 1\nsteps: [{name: a, bench: {}}]", "nothing else"),
        ("- a", "write 'key: value' lines"),
        ("a: [", "not valid YAML"),
        ("steps: [{name: a, bensh: {}}]", "did you mean 'bench'"),
        ("steps: [{name: a}]", "write a 'name' and one verb"),
        ("steps: [{name: a, seconds: -1, speech: {}}]", "seconds is -1"),
        ("steps: [{name: a b, speech: {}}]", "letters, digits"),
        ("steps: [{name: a, speech: {}}, {name: a, speech: {}}]", "'a' is taken"),
        ("steps: [{name: a, speech: 3}]", "write a mapping"),
        ("steps: [{name: a, bench: {model: x, data: [y]}}]", "unknown key 'model'; did you mean 'models'"),
        ("steps: [{name: a, bench: {models: [x]}}]", "'data' is missing"),
        ("steps: [{name: a, train: {model: x, train: y, dev: z, method: loro}}]", "did you mean 'lora'"),
        ('steps: [{name: a, bench: {models: ["${b}/model"], data: [x]}}]', r"refers to \$\{b\}"),
        ("steps: [{name: a, train: {model: x, train: y, dev: z, lora: {rank: 0}}}]", "rank is 0"),
    ],
)
def test_every_mistake_is_found_before_anything_runs(tmp_path, text, message):
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        run_recipe(str(path), output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_unknown_recipe_and_unknown_step_are_named():
    with pytest.raises(ConfigError, match="did you mean 'lab'"):
        load_recipe("lap")
    with pytest.raises(ConfigError, match="there is no step 'nope'"):
        load_recipe("lab", ["nope.max_steps=3"])


@pytest.mark.parametrize("name", recipe_names())
def test_packaged_recipes_load(name):
    recipe = load_recipe(name)
    assert recipe.description
    assert len(recipe.fingerprints) == len(recipe.steps)


def test_time_left_follows_the_seconds_a_recipe_names(tmp_path, caplog):
    path = tmp_path / "timed.yaml"
    path.write_text(
        """
name: timed
steps:
  - name: a
    seconds: 10
    speech: {language: fr, split: dev, count: 1}
  - name: b
    speech: {language: fr, split: dev, count: 1}
  - name: c
    seconds: 30
    speech: {language: fr, split: dev, count: 1}
"""
    )
    ticks = iter([0.0, 0.0, 20.0, 20.0, 25.0, 25.0, 85.0, 85.0])  # a takes twice what was named, b five seconds
    with caplog.at_level("INFO"):
        run_recipe(str(path), output=tmp_path / "out", clock=lambda: next(ticks))
    lines = [record.getMessage() for record in caplog.records if record.getMessage().startswith("[")]
    assert lines == [
        "[1/3] a: speech  (about 40 s left)",
        "[2/3] b: speech  (about 60 s left)",
        "[3/3] c: speech  (about 60 s left)",
    ]


def test_steps_beside_each_other_give_the_same_and_speak_in_order(recipe, tmp_path):
    text = recipe.read_text()
    said: dict[str, list[str]] = {}
    for jobs in (1, 2):
        recipe.write_text(f"jobs: {jobs}\nthreads: 1\n{text}")
        lines = said.setdefault(str(jobs), [])
        run_recipe(str(recipe), output=tmp_path / str(jobs), say=lines.append)
    numbers = [json.loads((tmp_path / jobs / "verdict/compare.json").read_text()) for jobs in "12"]
    assert numbers[0] == numbers[1]
    weights = [next((tmp_path / jobs / "full/model").glob("*.safetensors")).read_bytes() for jobs in "12"]
    assert weights[0] == weights[1]
    assert [line.split("\n")[0] for line in said["1"][:-1]] == [line.split("\n")[0] for line in said["2"][:-1]]
    assert numbers[0]["verdict"] in said["2"][2]


def test_what_runs_beside_a_step_that_fails_is_finished(recipe, tmp_path):
    data = tmp_path / "tones/test.jsonl"
    steps = f"""
jobs: 2
steps:
  - name: broken
    bench: {{models: ["{tmp_path}/tiny"], data: ["{tmp_path}/missing.jsonl"]}}
  - name: sound
    bench: {{models: ["{tmp_path}/tiny"], data: ["{data}"], window: fit, max_new_tokens: 2}}
  - name: later
    compare: {{base: "${{sound}}", system: "${{sound}}"}}
"""
    recipe.write_text(steps)
    with pytest.raises(DataError, match="missing"):
        run_recipe(str(recipe), output=tmp_path / "out", say=lambda line: None)
    assert sorted(mark.stem for mark in (tmp_path / "out/.done").iterdir()) == ["sound"]


@pytest.mark.parametrize("line", ["jobs: 0", "jobs: two", "threads: 1.5", "jobs: true"])
def test_impossible_jobs_are_refused(recipe, line):
    recipe.write_text(f"{line}\n{recipe.read_text()}")
    with pytest.raises(ConfigError, match="whole number of at least 1"):
        load_recipe(str(recipe))


def test_a_worker_that_is_killed_says_what_to_do(recipe, tmp_path):
    with Workers(1, threads=None) as workers:
        workers.start("speech", "bench", {"models": [str(tmp_path / "tiny")], "data": ["x"], "output": "y"})
        (worker,) = workers._busy.values()
        worker.process.kill()
        ended = []
        while not ended:
            ended = workers.wait()
    assert "ended without a word" in str(ended[0].error)
