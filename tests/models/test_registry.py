"""Families cost nothing until they are asked for, and each says what it lacks."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import pytest

from asr_headroom.errors import MissingDependencyError, ModelError
from asr_headroom.models import registry
from asr_headroom.models.registry import family_names, load_model

TYPES = sorted({(kind, name) for name, family in registry._FAMILIES.items() for kind in family.model_types})


def test_knowing_all_families_imports_none():
    code = (
        "import sys; from asr_headroom.models.registry import family_names; assert family_names();"
        "families = {m for m in sys.modules if m.startswith('asr_headroom.models.')};"
        "heavy = {'torch', 'transformers', 'peft', 'mistral_common'} & set(sys.modules);"
        "print(sorted(families - {'asr_headroom.models.' + m for m in ('registry', 'protocols', 'decoding',"
        " 'vocabulary')}), sorted(heavy))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.split() == ["[]", "[]"]


@pytest.mark.parametrize("name", sorted(registry._FAMILIES))
def test_each_family_is_where_it_is_said_to_be(name):
    module, _, function = registry._FAMILIES[name].load.partition(":")
    assert importlib.util.find_spec(module) is not None
    assert function == "load"
    assert name in family_names()


@pytest.mark.parametrize(("kind", "name"), TYPES)
def test_without_transformers_every_family_names_the_install_command(kind, name, tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    monkeypatch.setitem(sys.modules, "transformers", None)
    for told in (None, name):
        with pytest.raises(MissingDependencyError, match=r"'transformers'.* pip install 'asr-headroom\["):
            load_model(str(tmp_path), family=told)


@pytest.mark.parametrize(("kind", "name"), TYPES)
def test_the_family_that_is_missing_a_package_names_its_extra(kind, name, tmp_path, monkeypatch):
    """Whatever module of the family is the first to miss it."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    family = registry._FAMILIES[name]
    monkeypatch.setitem(registry._FAMILIES, name, family._replace(load="a_package_that_is_not_there:load"))
    with pytest.raises(MissingDependencyError, match=rf"not_there'; .*asr-headroom\[{family.extra}\]"):
        load_model(str(tmp_path), family=name)


@pytest.mark.parametrize(("kind", "name"), TYPES)
def test_each_family_refuses_a_checkpoint_of_every_other_type(kind, name, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    for other, family in registry._FAMILIES.items():
        if kind not in family.model_types:
            with pytest.raises(ModelError, match=rf"'{kind}', which family '{other}' does not read"):
                load_model(str(tmp_path), family=other)
