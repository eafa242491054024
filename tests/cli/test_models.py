"""``asr-headroom models list`` and the page that is made from it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from asr_headroom.cli.main import main
from asr_headroom.models.catalogue import catalogue

PAGE = Path(__file__).parents[2] / "docs" / "models.md"


def printed(capsys, *words):
    assert main(["models", "list", *words]) == 0
    return capsys.readouterr().out


def test_the_page_is_up_to_date(capsys):
    assert PAGE.read_text(encoding="utf-8") == printed(capsys, "--markdown"), (
        "write it again: asr-headroom models list --markdown > docs/models.md"
    )


def test_json_has_every_family_and_what_cannot_run(capsys):
    content = json.loads(printed(capsys, "--json"))
    assert {entry.family for entry in catalogue()} <= {row["family"] for row in content["families"]}
    whisper = next(row for row in content["families"] if row["family"] == "whisper")
    assert whisper["abilities"]["can_sample"] is True
    small = next(c for c in whisper["checkpoints"] if c["model_id"] == "openai/whisper-small")
    assert small["parameters"] == 241_734_912
    assert {"OWSM-CTC", "SenseVoice", "Canary-Qwen"} <= {entry["title"] for entry in content["elsewhere"]}


def test_one_language_lists_the_checkpoints_that_can_be_told_it(capsys):
    text = printed(capsys, "whisper", "--language", "yue-HK")
    assert "openai/whisper-large-v3-turbo" in text
    assert "openai/whisper-small" not in text
    assert "can be told that language" in printed(capsys, "--language", "tlh")


def test_one_family_shows_all_its_checkpoints(capsys):
    assert "and 1" in printed(capsys).split("openai/whisper-small")[1].split("\n")[1]
    assert "distil-whisper/distil-large-v3" in printed(capsys, "whisper")


def test_an_unknown_family_is_suggested(capsys):
    assert main(["models", "list", "wisper"]) == 1
    assert "did you mean 'whisper'?" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["--json", "--markdown"])
def test_listing_loads_no_heavy_library(form):
    command = f"from asr_headroom.cli.main import main; main(['models', 'list', '{form}'])"
    code = f"import sys\n{command}\nprint(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "peft"} & set(done.stdout.splitlines()[-1].split())
