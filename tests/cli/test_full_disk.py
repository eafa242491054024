"""A disk that fills up: one clear message, exit 1, the last good state whole, and the same command goes on afterwards.

The limit on the size of a file stands in for the disk: a write beyond it raises ``OSError`` (EFBIG) wherever it
happens, as a full disk would.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from asr_headroom.cli.main import main
from asr_headroom.data.manifest import write_manifest
from asr_headroom.testing.results import make_results, write_results
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_whisper

resource = pytest.importorskip("resource", reason="no limits on files on this system")

LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
from asr_headroom.cli.main import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture(scope="module")
def room(tmp_path_factory) -> Path:
    """A folder with ``tiny``, a model, and ``speech.jsonl`` of 24 utterances."""
    folder = tmp_path_factory.mktemp("room")
    tiny_whisper().save_pretrained(folder / "tiny")
    speech = []
    for index in range(24):
        utterance = tone_utterance(chr(97 + index) + "a", id=f"u{index}")
        (folder / f"{index}.wav").write_bytes(utterance.audio)
        speech.append(dataclasses.replace(utterance, audio=folder / f"{index}.wav"))
    write_manifest(folder / "speech.jsonl", speech)
    return folder


def run_limited(limit: int, *words: object) -> str:
    """What a command says that must fail for want of room."""
    command = [sys.executable, "-c", LIMITED, str(limit), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert "Traceback" not in said
    return said


def test_bench_goes_on_where_the_disk_was_full(room, tmp_path):
    words = ["bench", "--models", room / "tiny", "--data", room / "speech.jsonl", "--window", "fit"]
    words += ["--batch-size", "4", "--max-new-tokens", "4", "--output"]
    assert main([str(word) for word in [*words, tmp_path / "whole"]]) == 0
    (whole,) = (tmp_path / "whole").rglob("predictions.jsonl")
    limit = max(whole.stat().st_size * 2 // 3, whole.with_name("run.json").stat().st_size + 100)
    assert limit < whole.stat().st_size

    said = run_limited(limit, *words, tmp_path / "cut")
    (cut,) = (tmp_path / "cut").rglob("predictions.jsonl")
    assert f"{cut.parent}: predictions cannot be written" in said
    assert "it goes on where it stopped" in said
    assert json.loads(cut.with_name("run.json").read_text())["status"] == "running"
    assert cut.stat().st_size < whole.stat().st_size

    assert main([str(word) for word in [*words, tmp_path / "cut"]]) == 0
    assert cut.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("method", ["full", "lora"])
def test_training_goes_on_from_the_last_whole_checkpoint(room, tmp_path, method):
    words = ["train", "--model", room / "tiny", "--train", room / "speech.jsonl", "--dev", room / "speech.jsonl"]
    words += ["--method", method, "--max-steps", "2", "--eval-steps", "1", "--eval-utterances", "2", "--window", "fit"]
    words += ["--learning-rate", "1e-3", "--output"]
    assert main([str(word) for word in [*words, tmp_path / "whole"]]) == 0
    last = tmp_path / "whole/checkpoints/step-00000002"
    (weights,) = last.glob("*model.safetensors")
    # Step 0 fits: the optimiser has no state yet. The one of step 1 does not.
    others = max(path.stat().st_size for path in last.iterdir() if path.name != "trainer_state.pt")
    limit = (others + (last / "trainer_state.pt").stat().st_size) // 2
    assert others < limit

    said = run_limited(limit, *words, tmp_path / "cut")
    assert "step-00000001: cannot be written" in said
    assert "it goes on from the last whole checkpoint" in said
    assert [path.name for path in (tmp_path / "cut/checkpoints").iterdir()] == ["step-00000000"]
    assert not (tmp_path / "cut/model").exists()

    assert main([str(word) for word in [*words, tmp_path / "cut"]]) == 0
    again = tmp_path / "cut/checkpoints/step-00000002" / weights.name
    assert again.read_bytes() == weights.read_bytes()
    histories = [(tmp_path / name / "history.jsonl").read_text() for name in ("whole", "cut")]
    assert histories[0] == histories[1]


def test_training_whose_first_weights_do_not_fit(room, tmp_path):
    words = ["train", "--model", room / "tiny", "--train", room / "speech.jsonl", "--dev", room / "speech.jsonl"]
    words += ["--method", "full", "--max-steps", "1", "--eval-utterances", "2", "--output", tmp_path / "out"]
    said = run_limited(40_000, *words)
    assert "step-00000000: cannot be written" in said
    assert list((tmp_path / "out/checkpoints").iterdir()) == []
    assert main([str(word) for word in words]) == 0


def test_a_report_that_does_not_fit_leaves_the_old_page(tmp_path):
    runs = [
        write_results(
            tmp_path / name, make_results([(f"phrase {i} un", f"phrase {i} {name}") for i in range(9)], name=name)
        )
        for name in ("un", "deux")
    ]
    page = tmp_path / "page.html"
    page.write_text("the old page")
    said = run_limited(4096, "report", *runs, "--output", page)
    assert f"{page}: cannot be written" in said
    assert page.read_text() == "the old page"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deux", "page.html", "un"]
    assert main(["report", *map(str, runs), "--output", str(page)]) == 0
    assert "the old page" not in page.read_text()


def test_a_split_that_does_not_fit(room, tmp_path):
    said = run_limited(300, "data", "split", room / "speech.jsonl", "--output", tmp_path / "parts")
    assert "cannot be written" in said
    assert "--output" in said


def test_a_corpus_that_does_not_fit_is_made_again(tmp_path):
    pytest.importorskip("espeakng_loader", reason="espeakng-loader is not installed")
    words = ["lab", "speech", "--count", "3", "--output", str(tmp_path / "corpus")]
    said = run_limited(20_000, *words)
    assert str(tmp_path / "corpus") in said
    assert main(words) == 0
    assert len((tmp_path / "corpus/manifest.jsonl").read_text().splitlines()) == 3


TMPFS = 'mount -t tmpfs -o size="$1" tmpfs "$2" && shift 2 && exec "$@"'


@pytest.mark.skipif(shutil.which("unshare") is None, reason="no unshare on this system")
def test_a_really_full_disk(room, tmp_path):
    (tmp_path / "disk").mkdir()
    in_namespace = ["unshare", "--mount", "--map-root-user", "sh", "-c", TMPFS, "sh"]
    probe = subprocess.run([*in_namespace, "64k", tmp_path / "disk", "true"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip("a small disk cannot be mounted here")
    words = ["train", "--model", room / "tiny", "--train", room / "speech.jsonl", "--dev", room / "speech.jsonl"]
    words += ["--method", "full", "--max-steps", "2", "--eval-steps", "1", "--eval-utterances", "2"]
    words += ["--output", tmp_path / "disk/out"]
    command = [*in_namespace, "700k", tmp_path / "disk", sys.executable, "-m", "asr_headroom", *words]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "cannot be written" in done.stderr
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr
