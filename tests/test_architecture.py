"""The house keeps its promises: light imports, one direction, sorted public names, documented files."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import asr_headroom

PACKAGE = Path(asr_headroom.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

# From the ground up: a room imports only rooms before it.
ORDER = ["errors", "config", "budget", "stopping", "provenance", "audio", "text", "metrics", "results", "data",
         "models", "train", "rl", "evaluate", "integrations", "analysis", "report", "serve", "lab", "stages",
         "recipes", "testing", "cli"]  # fmt: skip


def room(path_or_module):
    if isinstance(path_or_module, Path):
        return path_or_module.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return path_or_module.split(".")[1]


def imported_modules(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("asr_headroom."):
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.startswith("asr_headroom."))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_flow_one_way(path):
    if path.parent == PACKAGE and path.stem in ("__init__", "__main__"):
        return
    own = ORDER.index(room(path))
    above = {name for name in imported_modules(path) if ORDER.index(room(name)) > own}
    assert not above, f"{path.relative_to(PACKAGE)} imports rooms above it: {sorted(above)}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_file_says_what_it_is_for(path):
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_train_and_rl_never_import_evaluate():
    for path in MODULES:
        if room(path) in ("train", "rl"):
            assert not [name for name in imported_modules(path) if room(name) == "evaluate"]


HEAVY = {"torch", "transformers", "datasets", "matplotlib", "peft", "accelerate", "pandas"}


def modules_after(statement):
    code = f"import sys\n{statement}\nprint(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split("\n")[-2].split())


@pytest.mark.parametrize(
    "statement",
    [
        "import asr_headroom",
        "from asr_headroom.cli.main import main; main(['--help'])",
        "from asr_headroom.cli.main import main; main(['train', '--help'])",
        "from asr_headroom.cli.main import main; main(['rl', '--help'])",
        "from asr_headroom.cli.main import main; main(['bench', '--help'])",
        "import asr_headroom.results.store, asr_headroom.metrics.significance, asr_headroom.analysis.scoring",
    ],
)
def test_light_imports(statement):
    assert not modules_after(statement) & HEAVY


def test_public_names_are_sorted_and_resolve():
    assert asr_headroom.__all__ == sorted(asr_headroom.__all__)
    for name in asr_headroom.__all__:
        assert getattr(asr_headroom, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = asr_headroom.nonsense


def test_there_is_no_room_for_odds_and_ends():
    assert not [path for path in MODULES if path.stem in ("utils", "helpers", "common", "misc")]


def test_every_verb_has_what_main_calls():
    from asr_headroom.cli.main import VERBS

    for verb in VERBS:
        module = importlib.import_module(f"asr_headroom.cli.{verb}")
        assert module.SUMMARY
        assert callable(module.add_arguments)
        assert callable(module.run)
