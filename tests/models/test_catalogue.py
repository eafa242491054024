"""The catalogue and the registry say the same, and what they say of Whisper is so."""

from __future__ import annotations

import importlib
import importlib.metadata
import json

import pytest
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from asr_headroom.errors import MissingDependencyError, ModelError
from asr_headroom.models import registry
from asr_headroom.models.architecture import known_architectures
from asr_headroom.models.catalogue import catalogue, elsewhere
from asr_headroom.models.registry import load_model
from asr_headroom.testing.tiny import tiny_whisper


def test_every_family_is_described_and_every_described_one_can_be_loaded():
    described = [entry.family for entry in catalogue()]
    assert described == sorted(described)
    assert set(described) == set(registry._FAMILIES)


@pytest.mark.parametrize("family", registry._FAMILIES)
def test_loaders_are_there_and_take_what_stages_pass(family):
    import inspect

    module, _, function = registry._FAMILIES[family].load.partition(":")
    if registry._FAMILIES[family].extra == "voxtral":
        pytest.importorskip("mistral_common", reason="the extra 'voxtral' is not installed")
    parameters = inspect.signature(getattr(importlib.import_module(module), function)).parameters
    assert {"dtype", "device", "random_init", "seed"} <= set(parameters)
    assert registry._FAMILIES[family].model_types


def test_hub_ids_stand_once():
    ids = [checkpoint.model_id for entry in catalogue() for checkpoint in entry.checkpoints]
    assert len(ids) == len(set(ids))
    assert all("/" in model_id for model_id in ids)
    assert all(other.reason for other in elsewhere())


def test_whispers_languages_are_its_tokenizers():
    whisper = next(entry for entry in catalogue() if entry.family == "whisper")
    assert {*whisper.languages, "yue"} == set(LANGUAGES)
    assert len(whisper.languages) == 99
    listed = {checkpoint.model_id for checkpoint in whisper.checkpoints}
    assert {name for name in known_architectures() if "whisper" in name} - listed <= {"openai/whisper-large"}


@pytest.fixture
def folder(tmp_path):
    tiny_whisper().save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def change_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("name", "ids"),
    [("Qwen3-ASR-0.6B", ["Qwen/Qwen3-ASR-0.6B-hf"]), ("q", ["Qwen/Qwen3-ASR-0.6B-hf", "Qwen/Qwen3-ASR-1.7B-hf"])],
)
def test_qwens_original_layout_is_refused_with_the_right_id(tmp_path, name, ids):
    (tmp_path / name).mkdir()
    (tmp_path / name / "config.json").write_text(json.dumps({"model_type": "qwen3_asr", "thinker_config": {}}))
    with pytest.raises(ModelError, match="original layout") as error:
        load_model(str(tmp_path / name))
    assert str(error.value).endswith(f"use {' or '.join(ids)}")


def test_a_family_that_is_told_must_read_the_type(folder, monkeypatch):
    monkeypatch.setitem(registry._FAMILIES, "other", registry._Family("nowhere:load", ("bert",)))
    with pytest.raises(ModelError, match=r"'whisper', which family 'other' does not read .*family 'whisper' reads it"):
        load_model(str(folder), family="other")


def test_a_checkpoint_may_name_the_family_among_those_that_read_its_type(folder, monkeypatch):
    monkeypatch.setitem(registry._FAMILIES, "other", registry._Family("not_there:load", ("whisper",)))
    assert load_model(str(folder)).card.family == "whisper"
    change_config(folder, asr_headroom_family="other")
    with pytest.raises(MissingDependencyError, match="needs the package 'not_there'"):
        load_model(str(folder))
    assert load_model(str(folder), family="whisper").card.family == "whisper"
    change_config(folder, asr_headroom_family="nonsense")
    assert load_model(str(folder)).card.family == "whisper"


def test_a_missing_package_names_the_command_that_installs_it(folder, monkeypatch):
    monkeypatch.setitem(registry._FAMILIES, "whisper", registry._Family("not_there:load", ("whisper",), "special"))
    with pytest.raises(MissingDependencyError, match=r"pip install 'asr-headroom\[special\]'"):
        load_model(str(folder))


def test_a_bug_of_ours_is_not_called_a_missing_package(folder, monkeypatch):
    monkeypatch.setitem(
        registry._FAMILIES, "whisper", registry._Family("asr_headroom.models.not_there:load", ("whisper",))
    )
    with pytest.raises(ModuleNotFoundError, match="not_there"):
        load_model(str(folder))


def test_unknown_options_are_refused_and_the_window_goes_to_those_that_have_one(folder, monkeypatch):
    with pytest.raises(ModelError, match=r"family 'whisper' has no option 'windw'; did you mean 'window'"):
        load_model(str(folder), windw="fit")
    assert load_model(str(folder), window="fit").window == "fit"
    taken = {}

    def load(model_id, *, dtype="float32"):
        taken.update(model_id=model_id, dtype=dtype)
        return tiny_whisper()

    monkeypatch.setattr(registry.importlib, "import_module", lambda name: type("Module", (), {"load": load}))
    load_model(str(folder), window="full", dtype="bfloat16")
    assert taken == {"model_id": str(folder), "dtype": "bfloat16"}


def test_another_package_adds_a_family_by_entry_point(folder, monkeypatch):
    entries = {
        "asr_headroom.families": [("mine", "asr_headroom.models.whisper:load")],
        "asr_headroom.model_types": [("my_type", "mine")],
    }

    def entry_points(group):
        return [importlib.metadata.EntryPoint(name, value, group) for name, value in entries[group]]

    monkeypatch.setattr(registry.importlib.metadata, "entry_points", entry_points)
    assert "mine" in registry.family_names()
    change_config(folder, model_type="my_type")
    with pytest.raises(ModelError, match="my_type"):
        load_model(str(folder), family="whisper")
    assert registry._family_of(str(folder), None, registry._families()) == "mine"
