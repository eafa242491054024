"""Malformed inputs through the real command line: an exit code, one message that says what and where, no traceback."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_headroom.cli.main import main
from asr_headroom.models.lora import LoraConfig, attach_lora
from asr_headroom.testing.results import make_results, write_results
from asr_headroom.testing.tiny import tiny_whisper

RATE = 16_000


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> Path:
    """Folders ``tiny`` (multilingual, 3 s), ``english``, ``wide`` and ``adapter``, which is on ``tiny``."""
    folder = tmp_path_factory.mktemp("models")
    tiny_whisper().save_pretrained(folder / "tiny")
    tiny_whisper(multilingual=False).save_pretrained(folder / "english")
    tiny_whisper(width=48).save_pretrained(folder / "wide")
    base = tiny_whisper()
    base.module.config._name_or_path = str(folder / "tiny")
    attach_lora(base, LoraConfig(rank=2)).save_pretrained(folder / "adapter")
    settings = json.loads((folder / "adapter/adapter_config.json").read_text())
    settings["base_model_name_or_path"] = str(folder / "tiny")
    (folder / "adapter/adapter_config.json").write_text(json.dumps(settings))
    return folder


@dataclass(frozen=True)
class Room:
    """A fresh folder with ``good.wav`` and ``good.jsonl`` in it, and the models."""

    folder: Path
    models: Path

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    def write(self, name: str, content: str | bytes | Callable[[], bytes]) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        plain = content() if callable(content) else content
        path.write_bytes(plain if isinstance(plain, bytes) else plain.encode())
        return path

    def manifest(self, *rows: dict, name: str = "rows.jsonl") -> Path:
        good = {"audio": "good.wav", "text": "abc", "language": "en"}
        lines = [json.dumps({"id": f"u{i}"} | good | row) for i, row in enumerate(rows)]
        return self.write(name, "\n".join(lines) + "\n")

    def copy(self, model: str, name: str = "broken") -> Path:
        return Path(shutil.copytree(self.models / model, self.folder / name))

    def bench(self, *, model: str | Path | None = None, data: Path | None = None) -> list[str]:
        model = model or self.models / "tiny"
        words = ["bench", "--models", str(model), "--data", str(data or self / "good.jsonl")]
        return [*words, "--output", str(self / "out"), "--max-new-tokens", "4"]

    def train(self, *flags: str, model: str | Path | None = None, data: Path | None = None) -> list[str]:
        good = str(self / "good.jsonl")
        words = ["train", "--model", str(model or self.models / "tiny"), "--train", str(data or good), "--dev", good]
        return [*words, "--output", str(self / "out"), "--max-steps", "1", *flags]

    def results(self, name: str, texts: list[tuple[str, str]] | None = None, **run: str) -> Path:
        texts = texts or [(f"phrase {i} deux", f"phrase {i} trois") for i in range(8)]
        return write_results(self / name, make_results(texts, name=name, **run))


@pytest.fixture
def room(tmp_path, models) -> Room:
    room = Room(tmp_path, models)
    room.write("good.wav", sound())
    room.manifest({}, {}, name="good.jsonl")
    return room


def sound(file_format: str = "WAV", seconds: float = 0.75, **options: object) -> bytes:
    buffer = io.BytesIO()
    times = np.arange(round(seconds * RATE)) / RATE
    soundfile.write(buffer, 0.3 * np.sin(2 * np.pi * 440 * times), RATE, format=file_format, **options)
    return buffer.getvalue()


def not_a_number() -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.full(RATE, np.nan, np.float32), RATE, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


def check(words: list[str], code: int, *messages: str, capsys) -> str:
    """Runs a command; an exception out of ``main`` fails the test by itself."""
    found = main([str(word) for word in words])
    captured = capsys.readouterr()
    said = captured.out + captured.err
    assert found == code, said
    assert "Traceback" not in said
    for message in messages:
        assert message in said
    return said


# ---------------------------------------------------------------------- recordings

RECORDINGS = {
    "cut.wav": (lambda: sound()[:9000], "truncated"),
    "cut.flac": (lambda: sound("FLAC", 1.5)[:-3000], "cut.flac: "),
    "cut.mp3": (lambda: sound("MP3", 2.0)[:100], "cut.mp3: "),
    "empty.wav": (b"", "empty.wav: not audio that can be decoded"),
    "header.wav": (lambda: sound(seconds=0), "holds no audio"),
    "nan.wav": (not_a_number, "holds NaN or infinite samples"),
    "text.wav": ("once upon a time\n", "text.wav: not audio that can be decoded"),
    "samples.raw": (bytes(8000), "raw samples without a header"),
    "page.mp3": ("<html>404 not found</html>", "page.mp3: not audio that can be decoded"),
}


@pytest.mark.parametrize("name", RECORDINGS)
@pytest.mark.parametrize("verb", ["validate", "bench", "train"])
def test_damaged_recordings(room, capsys, verb, name):
    content, message = RECORDINGS[name]
    room.write(name, content)
    data = room.manifest({}, {"id": "bad", "audio": name})
    if verb == "validate":
        said = check(["data", "validate", data, "--deep"], 1, f"{data}:2: error: ", message, capsys=capsys)
        assert "2 rows = 1 usable + 1 unusable" in said
        return
    words = room.bench(data=data) if verb == "bench" else room.train(data=data)
    check(words, 1, name, message, capsys=capsys)


@pytest.mark.parametrize("verb", ["validate", "bench", "train"])
def test_missing_recordings(room, capsys, verb):
    data = room.manifest({}, {"audio": "nowhere.wav"})
    words = {"validate": ["data", "validate", data], "bench": room.bench(data=data), "train": room.train(data=data)}
    check(words[verb], 1, "nowhere.wav: no such file", capsys=capsys)


def test_a_wrong_extension_is_no_mistake_when_the_audio_can_be_decoded(room, capsys):
    room.write("really-flac.wav", sound("FLAC"))
    assert main(["data", "validate", str(room.manifest({"audio": "really-flac.wav"})), "--deep"]) == 0


# ---------------------------------------------------------------------- manifests

GOOD = '{"id": "a", "audio": "good.wav", "text": "abc", "language": "en"}\n'

MANIFESTS = {
    "column": (GOOD + '{"id": "b", "audio": "good.wav"}\n', ":2: ", "no text column"),
    "doubled": (GOOD + GOOD, ":2: ", "id 'a' stands already in"),
    "broken": (GOOD + '{"id": "b", "audio\n', ":2: ", "not JSON"),
    "type": (GOOD + GOOD.replace('"a"', "17").replace('"abc"', "null"), ":2: ", "text is None"),
    "latin": (GOOD.encode() + GOOD.replace("abc", "été").encode("latin-1"), ":2: ", "not UTF-8"),
    "utf16": (GOOD.encode("utf-16"), "utf16.jsonl", "UTF-16"),
    "empty": (b"", "empty.jsonl", "holds no rows"),
    "binary": (bytes(range(256)) * 4, "binary.jsonl", ""),
    "negative": (GOOD + GOOD.replace('"a"', '"b", "duration": -3'), ":2: ", "seconds cannot be negative"),
    "swapped": (GOOD + GOOD.replace('"a"', '"b", "start": 0.5, "end": 0.2'), ":2: ", "is not after start"),
}


@pytest.mark.parametrize("name", MANIFESTS)
@pytest.mark.parametrize("verb", ["split", "leak", "show", "bench", "train"])
def test_malformed_manifests(room, capsys, verb, name):
    content, where, message = MANIFESTS[name]
    data = room.write(f"{name}.jsonl", content)
    words = {
        "split": ["data", "split", data, "--output", room / "parts"],
        "leak": ["data", "leak", room / "good.jsonl", data],
        "show": ["data", "show", data],
        "bench": room.bench(data=data),
        "train": room.train(data=data),
    }[verb]
    check(words, 1, f"{data}", where, message, capsys=capsys)
    assert not (room / "out").exists()
    assert not (room / "parts").exists()


@pytest.mark.parametrize("name", MANIFESTS)
def test_validation_names_the_row_and_its_counts_add_up(room, capsys, name):
    content, where, message = MANIFESTS[name]
    data = room.write(f"{name}.jsonl", content)
    check(["data", "validate", data], 1, where, message, capsys=capsys)
    assert main(["data", "validate", str(data), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["num_rows"] == report["num_usable"] + report["num_unusable"]
    assert report["problems"]


# ---------------------------------------------------------------------- configs and recipes

CONFIGS = {
    "models: [a\n  b: c": "not valid YAML",
    "- models\n- data\n": "holds a list",
    "bach_size: 4\n": "did you mean 'batch_size'",
    "batch_size: many\n": "batch_size is 'many'",
    "models: null\n": "models[0] is None",
    "model: x\ntrain: null\n": "unknown key 'model'",
    "limit: 2020-13-45\n": "not valid YAML",
    "limit: 0b_\n": "not valid YAML",
    "2020-01-01: 4\n": "not plain",
    "models: &a [*a]\n": "not plain",
    "models: " + "[" * 3000: "not valid YAML",
    "models: !!python/object:os.system {}\n": "not valid YAML",
}


@pytest.mark.parametrize("content", CONFIGS, ids=range(len(CONFIGS)))
def test_malformed_configs(room, capsys, content):
    path = room.write("bench.yaml", content)
    check(["bench", "--data", "x", "--config", path], 2, CONFIGS[content], str(path), capsys=capsys)


@pytest.mark.parametrize("content", ["été\n".encode("latin-1"), b"\x00\x01\x02", bytes(range(256))])
def test_unreadable_configs(room, capsys, content):
    path = room.write("bench.yaml", content)
    check(["bench", "--config", path], 2, str(path), capsys=capsys)
    check(["run", path], 2, str(path), capsys=capsys)


RECIPES = {
    "steps: []\n": "non-empty list 'steps'",
    "stepz: []\n": "non-empty list 'steps'",
    "steps:\n- bench: {}\n": "step 1: write a 'name'",
    "steps:\n- {name: a, benhc: {}}\n": "unknown verb 'benhc'; did you mean 'bench'",
    "steps:\n- {name: a b, bench: {models: m, data: d}}\n": "the name 'a b'",
    "steps:\n- {name: a, bench: {modles: m, data: d}}\n": "did you mean 'models'",
    "steps:\n- {name: a, bench: [m]}\n": "write a mapping",
    "steps:\n- {name: a, bench: {models: '${b}', data: d}}\n": "${b}, which is not an earlier step",
    "steps:\n- {name: a, train: {model: m, train: t, dev: d, budget: soon}}\n": "budget 'soon'",
    "steps:\n- {name: a, speech: {language: de}}\n": "choose from: fr, zh, en",
    "steps:\n- {name: a, compare: {base: x, system: y, cluster: words}}\n": "cluster is 'words'",
    "steps:\n- {name: a, report: {runs: x, max_clips: -1}}\n": "max_clips is -1",
}


@pytest.mark.parametrize("content", RECIPES, ids=range(len(RECIPES)))
@pytest.mark.parametrize("flags", [[], ["--dry-run"]], ids=["run", "dry"])
def test_malformed_recipes(room, capsys, content, flags):
    path = room.write("study.yaml", content)
    check(["run", path, "--output", room / "out", *flags], 2, RECIPES[content], capsys=capsys)
    assert not (room / "out").exists()


def test_a_recipe_step_that_fails_names_its_file(room, capsys):
    path = room.write("r.yaml", f"steps:\n- {{name: a, bench: {{models: {room.models}/tiny, data: nowhere.jsonl}}}}\n")
    check(["run", path, "--output", room / "out"], 1, "nowhere.jsonl", capsys=capsys)


def test_a_damaged_mark_of_a_recipe(room, capsys):
    path = room.write("r.yaml", "steps:\n- {name: a, compare: {base: x, system: y}}\n")
    mark = room.write("out/.done/a.json", "{cut")
    check(["run", path, "--output", room / "out"], 2, f"{mark}: cannot be read", "delete it", capsys=capsys)


# ---------------------------------------------------------------------- models


def cut_weights(room: Room) -> Path:
    folder = room.copy("tiny")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    return folder


def edited(name: str, **changes: object) -> Callable[[Room], Path]:
    def make(room: Room) -> Path:
        folder = room.copy("tiny")
        plain = json.loads((folder / name).read_text()) | changes
        kept = {key: value for key, value in plain.items() if value is not ...}
        (folder / name).write_text(json.dumps(kept))
        return folder

    return make


def replaced(model: str, name: str, content: str | bytes | None) -> Callable[[Room], Path]:
    def make(room: Room) -> Path:
        folder = room.copy(model)
        (folder / name).unlink(missing_ok=True)
        if content is not None:
            room.write(f"broken/{name}", content)
        return folder

    return make


def other_weights(room: Room) -> Path:
    folder = room.copy("tiny")
    shutil.copy(room.models / "wide/model.safetensors", folder)
    return folder


def adapter_of(base: str) -> Callable[[Room], Path]:
    def make(room: Room) -> Path:
        folder = room.copy("adapter")
        path = folder / "adapter_config.json"
        settings = json.loads(path.read_text()) | {"base_model_name_or_path": base.format(models=room.models)}
        path.write_text(json.dumps(settings))
        return folder

    return make


def folder_with(**files: str) -> Callable[[Room], Path]:
    def make(room: Room) -> Path:
        (room / "broken").mkdir()
        for name, content in files.items():
            room.write(f"broken/{name}.json", content)
        return room / "broken"

    return make


MODELS = {
    "no folder": (lambda room: room / "broken", "broken"),
    "empty folder": (folder_with(), "broken"),
    "a file": (lambda room: room.write("broken", "x"), "broken"),
    "cut weights": (cut_weights, "broken"),
    "empty weights": (replaced("tiny", "model.safetensors", b""), "broken"),
    "no weights": (replaced("tiny", "model.safetensors", None), "model.safetensors"),
    "weights of a wider model": (other_weights, "mismatched"),
    "bert": (folder_with(config='{"model_type": "bert"}'), "is of type 'bert', which no family here reads"),
    "no type": (folder_with(config="{}"), "holds no config.json that names a type"),
    "config not JSON": (replaced("tiny", "config.json", "{cut"), "config.json"),
    "config a list": (replaced("tiny", "config.json", "[]"), "broken"),
    "config of another size": (edited("config.json", d_model=64), "mismatched"),
    "generation config without tokens": (
        edited("generation_config.json", no_timestamps_token_id=...),
        "generation config",
    ),
    "generation config without languages": (edited("generation_config.json", lang_to_id=...), "generation config"),
    "generation config without a task": (edited("generation_config.json", task_to_id={}), "generation config"),
    "no tokenizer": (replaced("tiny", "tokenizer.json", None), "broken"),
    "tokenizer not JSON": (replaced("tiny", "tokenizer.json", "{cut"), "broken"),
    "facts not JSON": (replaced("tiny", "headroom.json", "{cut"), "headroom.json"),
    "facts a list": (replaced("tiny", "headroom.json", "[1]"), "headroom.json"),
    "adapter without a base": (adapter_of(""), "names no base_model_name_or_path"),
    "adapter whose base is gone": (adapter_of("/nowhere/base"), "/nowhere/base"),
    "adapter on another model": (adapter_of("{models}/wide"), "adapter"),
    "adapter config not JSON": (
        replaced("adapter", "adapter_config.json", "{cut"),
        "adapter_config.json: cannot be read",
    ),
    "adapter cut": (replaced("adapter", "adapter_model.safetensors", b"\x10\0\0\0"), "cannot load the adapter"),
    "adapter gone": (replaced("adapter", "adapter_model.safetensors", None), "cannot load the adapter"),
}


@pytest.mark.parametrize("name", MODELS)
def test_models_that_cannot_be_used(room, capsys, name):
    make, message = MODELS[name]
    model = make(room)
    check(room.bench(model=model), 1, message, str(model), capsys=capsys)
    assert not (room / "out").exists()


@pytest.mark.parametrize("name", ["no folder", "cut weights", "adapter whose base is gone"])
def test_models_that_cannot_be_trained(room, capsys, name):
    make, message = MODELS[name]
    check(room.train(model=make(room)), 1, message, capsys=capsys)
    assert not (room / "out").exists()


def test_an_adapter_is_not_trained_again(room, capsys):
    check(room.train(model=room.models / "adapter"), 1, "is an adapter; merge it into its base first", capsys=capsys)


# ---------------------------------------------------------------------- languages and lengths


@pytest.mark.parametrize("verb", ["bench", "train"])
@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"language": "kl"}, "has no language 'kl'"),
        ({"language": None}, "told no language"),
    ],
)
def test_languages_the_model_does_not_know(room, capsys, verb, row, message):
    data = room.manifest({}, row)
    words = room.bench(data=data) if verb == "bench" else room.train(data=data)
    check(words, 1, message, capsys=capsys)


def test_recordings_longer_than_the_model_hears(room, capsys):
    room.write("long.wav", sound(seconds=3.5))
    data = room.manifest({}, {"id": "long", "audio": "long.wav"})
    check(
        room.bench(data=data), 1, "1 of 2 utterances are longer than the 3 s", "'long'", "--max-duration", capsys=capsys
    )
    words = room.train()
    words[words.index("--dev") + 1] = str(data)
    check(words, 1, "longer than the 3 s", "'long'", capsys=capsys)


def test_a_stated_duration_shorter_than_the_recording_does_not_hide_its_length(room, capsys):
    room.write("long.wav", sound(seconds=3.5))
    data = room.manifest({"id": "long", "audio": "long.wav", "duration": 1.0})
    check(room.bench(data=data), 1, "'long' lasts 3.50 s", capsys=capsys)
    check(room.train(data=data), 1, "'long' lasts 3.50 s", capsys=capsys)


def test_no_training_utterance_is_left(room, capsys):
    data = room.manifest({"text": "a" * 100}, {"text": "b" * 90})
    check(room.train(data=data), 1, "none of the 2 training utterances can be used", "decoder tokens", capsys=capsys)


def test_no_test_utterance_is_left(room, capsys):
    check([*room.bench(), "--max-duration", "0.1"], 1, "no usable utterance is left", "good.jsonl", capsys=capsys)


# ---------------------------------------------------------------------- numbers

NUMBERS = [
    ("bench", ["--batch-size", "-1"], "batch_size is -1"),
    ("bench", ["--beam-size", "0"], "beam_size is 0"),
    ("bench", ["--max-new-tokens", "-5"], "max_new_tokens is -5"),
    ("bench", ["--limit", "0"], "limit is 0"),
    ("bench", ["--max-duration", "-1"], "max_duration is -1"),
    ("bench", ["--max-duration", "nan"], "max_duration is nan"),
    ("bench", ["--name", "x", "--models", "a", "b"], "name is for one model"),
    ("train", ["--limit", "-1"], "limit is -1"),
    ("train", ["--max-duration", "0"], "max_duration is 0"),
    ("train", ["--learning-rate=-1e-4"], "learning_rate is -0.0001"),
    ("train", ["--learning-rate", "nan"], "learning_rate is nan"),
    ("train", ["--learning-rate", "inf"], "learning_rate is inf"),
    ("train", ["--num-train-epochs", "inf"], "num_train_epochs is inf"),
    ("train", ["--weight-decay", "nan"], "weight_decay is nan"),
    ("train", ["--warmup-ratio", "1.5"], "warmup_ratio is 1.5"),
    ("train", ["--max-steps", "0"], "max_steps is 0"),
    ("train", ["--seed", "-1"], "seed is -1"),
    ("train", ["--seed", "100000000000000000000"], "seed is 100000000000000000000"),
    ("train", ["--early-stopping-patience", "0"], "early_stopping_patience is 0"),
    ("train", ["--gradient-accumulation-steps", "0"], "gradient_accumulation_steps is 0"),
    ("train", ["--set", "lora.alpha=nan"], "lora.alpha is"),
    ("train", ["--set", "lora.dropout=1"], "lora.dropout is 1"),
    ("train", ["--budget=-5m"], "budget '-5m'"),
    ("train", ["--budget", "5"], "budget '5'"),
    ("train", ["--budget", "0s"], "budget '0s'"),
]


@pytest.mark.parametrize(("verb", "flags", "message"), NUMBERS, ids=[" ".join(n[1]) for n in NUMBERS])
def test_impossible_numbers(room, capsys, verb, flags, message):
    words = room.bench() if verb == "bench" else room.train()
    check([*words, *flags], 2, message, capsys=capsys)
    assert not (room / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data", "split", "{good}", "--output", "{out}", "--dev", "-1"], "dev"),
        (["data", "split", "{good}", "--output", "{out}", "--dev", "nan"], "dev"),
        (["data", "split", "{good}", "--output", "{out}", "--test", "50"], "test"),
        (["data", "split", "{good}", "--output", "{out}", "--seed", "-1"], "--seed is -1"),
        (["data", "leak", "{good}", "{good}", "--similarity", "nan"], "similarity"),
        (["data", "leak", "{good}", "{good}", "--similarity", "500"], "similarity"),
        (["lab", "speech", "--count", "0", "--output", "{out}"], "count is 0"),
        (["lab", "speech", "--rate", "200", "100", "--output", "{out}"], "rate is [200, 100]"),
        (["lab", "speech", "--snr", "nan", "nan", "--output", "{out}"], "snr is"),
        (["lab", "speech", "--language", "de", "--output", "{out}"], "language is 'de'"),
        (["lab", "pretrain", "--steps", "0", "--output", "{out}"], "steps is 0"),
        (["lab", "pretrain", "--learning-rate", "-1", "--output", "{out}"], "learning_rate is -1"),
        (["lab", "pretrain", "--processes", "0", "--output", "{out}"], "processes is 0"),
        (["lab", "--set", "nostep.seed=3", "--output", "{out}"], "there is no step 'nostep'"),
        (["normalize", "--normalizer", "klingon", "x"], "unknown normalizer 'klingon'"),
    ],
)
def test_impossible_flags(room, capsys, words, message):
    filled = [word.format(good=room / "good.jsonl", out=room / "out") for word in words]
    code = main(filled)
    captured = capsys.readouterr()
    assert code in (1, 2), captured.out
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert not list((room / "out").rglob("*.jsonl"))


def test_lora_on_projections_that_are_not_there(room, capsys):
    check(room.train("--set", "lora.target_modules=[nosuch]"), 1, "LoRA cannot be attached", "nosuch", capsys=capsys)


def test_a_budget_too_small_for_one_step(room, capsys):
    check(room.train("--budget", "0.001s"), 1, "raise the budget", capsys=capsys)


# ---------------------------------------------------------------------- results


def flawed(name: str, edit: Callable[[str], str], run: str = "flawed") -> Callable[[Room], Path]:
    def make(room: Room) -> Path:
        path = room.results(run) / name
        path.write_text(edit(path.read_text()))
        return path.parent

    return make


RESULTS = {
    "nothing": (lambda room: room / "nowhere", "nowhere"),
    "an empty folder": (lambda room: room.write("empty/x", "").parent, "empty"),
    "a file": (lambda room: room.write("file", "x"), "file"),
    "run.json cut": (flawed("run.json", lambda text: text[:100]), "run.json"),
    "run.json a list": (flawed("run.json", lambda text: "[]"), "its schema is None"),
    "run.json deep": (flawed("run.json", lambda text: "[" * 100_000), "run.json"),
    "schema of tomorrow": (flawed("run.json", lambda text: text.replace("results/1", "results/9")), "results/9"),
    "status of its own": (
        flawed("run.json", lambda text: text.replace('"complete"', '"perhaps"')),
        "'status' is 'perhaps'",
    ),
    "unknown field": (flawed("run.json", lambda text: text.replace('"name"', '"nmae"')), "nmae"),
    "predictions cut": (
        flawed("predictions.jsonl", lambda text: text[:-30]),
        "predictions.jsonl:8: the last line is cut off",
    ),
    "predictions not JSON": (flawed("predictions.jsonl", lambda text: "{x\n" + text), "predictions.jsonl:1: not JSON"),
    "predictions deep": (flawed("predictions.jsonl", lambda text: "[" * 100_000 + "\n" + text), "predictions.jsonl:1"),
    "predictions doubled": (flawed("predictions.jsonl", lambda text: text * 2), "stands already in line 1"),
    "predictions without text": (
        flawed("predictions.jsonl", lambda text: text.replace('"hypothesis"', '"hyp"')),
        "predictions.jsonl:1",
    ),
    "counts negative": (
        flawed("predictions.jsonl", lambda text: text.replace('"words": [', '"words": [-')),
        ":1: 'words' is",
    ),
    "no predictions": (flawed("predictions.jsonl", lambda text: ""), "flawed"),
}


@pytest.mark.parametrize("name", RESULTS)
@pytest.mark.parametrize("verb", ["score", "compare", "report"])
def test_malformed_results(room, capsys, verb, name):
    make, message = RESULTS[name]
    good, bad = room.results("good"), make(room)
    words = {
        "score": ["score", bad],
        "compare": ["compare", good, bad],
        "report": ["report", good, bad, "--output", room / "page.html"],
    }[verb]
    check(words, 1, message, capsys=capsys)
    assert not (room / "page.html").exists()


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([("phrase 0 deux", "phrase 0 deux")], "7 only in the first"),
        ([(f"autre {i}", "x") for i in range(8)], "has two references"),
    ],
)
def test_results_of_different_tests(room, capsys, texts, message):
    runs = [room.results("base"), room.results("other", texts, parent="base")]
    check(["compare", *runs], 1, message, "'other'", capsys=capsys)
    # A report shows both, in tables of their own, and compares nothing.
    said = check(["report", *runs, "--output", room / "page.html", "--json"], 0, capsys=capsys)
    assert [len(test["rows"]) for test in json.loads(said)["tests"]] == [1, 1]


@pytest.mark.parametrize("verb", ["score", "compare", "report"])
def test_unknown_names_for_results(room, capsys, verb):
    runs = [room.results("base"), room.results("other")][: 1 if verb == "score" else 2]
    page = ["--output", room / "page.html"] if verb == "report" else []
    check([verb, *runs, *page, "--normalizer", "klingon"], 2, "unknown normalizer 'klingon'", capsys=capsys)
    if verb != "score":
        check([verb, *runs, *page, "--cluster", "phase"], 2, "invalid choice: 'phase'", capsys=capsys)
        check([verb, *runs, *page, "--cluster", "speaker"], 2, "speaker", capsys=capsys)


# ---------------------------------------------------------------------- outputs


def outputs(room: Room, output: Path) -> dict[str, list]:
    room.manifest(*[{"text": text} for text in ("abc", "bad", "cab")], name="good.jsonl")
    recipe = room.write("r.yaml", "steps:\n- {name: a, speech: {count: 1}}\n")
    return {
        "bench": [*room.bench()[:-4], "--output", output],
        "train": [*room.train(), "--output", output],
        "split": ["data", "split", room / "good.jsonl", "--output", output, "--dev", "1", "--test", "1"],
        "report": ["report", room.results("base"), "--output", output / "page.html"],
        "run": ["run", recipe, "--output", output],
        "speech": ["lab", "speech", "--count", "1", "--output", output],
        "pretrain": ["lab", "pretrain", "--steps", "1", "--output", output],
    }


@pytest.mark.parametrize("below", ["", "deeper/still"], ids=["a file", "below a file"])
@pytest.mark.parametrize("verb", ["bench", "train", "split", "report", "run", "speech", "pretrain"])
def test_outputs_that_cannot_be_written(room, capsys, verb, below):
    taken = room.write("taken", "mine")
    check(outputs(room, taken / below)[verb], 1, str(taken), capsys=capsys)
    assert taken.read_text() == "mine"


def test_an_output_that_holds_another_run(room, capsys):
    assert main(room.bench()) == 0
    record = room / "out/tiny"
    (record,) = record.rglob("run.json")
    before = record.read_bytes()
    words = [*room.bench(), "--beam-size", "2"]
    check(words, 1, str(record.parent), "holds another run", "choose another --output", capsys=capsys)
    assert record.read_bytes() == before


def test_an_output_that_holds_another_training(room, capsys):
    record = room.write(
        "out/train.json", json.dumps({"schema": "asr-headroom/train/1", "config": {"seed": 1}, "facts": {}})
    )
    check(room.train(), 1, "holds another run (it differs in", "choose another --output", capsys=capsys)
    record.write_text("{cut")
    check(room.train(), 1, "train.json: cannot be read", capsys=capsys)
    record.write_text("[]")
    check(room.train(), 1, "train.json: cannot be read", capsys=capsys)


def test_damaged_predictions_are_not_resumed_over(room, capsys):
    assert main(room.bench()) == 0
    (path,) = (room / "out").rglob("predictions.jsonl")
    record = path.with_name("run.json")
    record.write_text(record.read_text().replace('"complete"', '"running"'))
    path.write_text("{x\n" + path.read_text())
    check(room.bench(), 1, f"{path}:1: damaged in the middle", capsys=capsys)


def test_an_output_that_holds_another_corpus(room, capsys):
    room.write("out/recipe.json", json.dumps({"fingerprint": "0"}))
    words = ["lab", "speech", "--count", "1", "--output", room / "out"]
    check(words, 1, "holds the corpus of another recipe", capsys=capsys)
    room.write("out/recipe.json", "{cut")
    check(words, 1, "recipe.json", capsys=capsys)


# ---------------------------------------------------------------------- as a process


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["score", "nowhere"], 1, "nowhere: no run.json"),
        (["data", "validate", "cut.jsonl"], 1, "cut.jsonl:1: error: not JSON"),
        (["report", "nowhere", "--output", "page.html"], 1, "nowhere"),
        (["bnech"], 2, "did you mean 'bench'"),
        (["normalize", "--language", "fr"], 1, "standard input, line 1: not UTF-8"),
    ],
)
def test_as_a_process(tmp_path, words, code, message):
    (tmp_path / "cut.jsonl").write_text("{cut\n")
    done = subprocess.run(
        [sys.executable, "-m", "asr_headroom", *words],
        cwd=tmp_path, input=b"bon\xe9\n", capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == code, said
    assert message in said
    assert "Traceback" not in said
