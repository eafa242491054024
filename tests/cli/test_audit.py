import json
import subprocess
import sys

import pytest

from asr_headroom.cli.main import main
from asr_headroom.testing.results import make_results, write_results

SAID = [f"le chat numéro {'i' * n} dort {'encore ' * (n % 4)}ici" for n in range(1, 41)]


@pytest.fixture
def clean(tmp_path):
    return _write(
        tmp_path / "clean.json", [text.replace("dort", "mord") if len(text) % 5 == 0 else text for text in SAID]
    )


@pytest.fixture
def broken(tmp_path):
    return _write(tmp_path / "broken.json", [*[""] * 10, *SAID[10:]])


def _write(path, outputs):
    rows = [{"ref": reference, "hyp": output} for reference, output in zip(SAID, outputs, strict=True)]
    path.write_text(json.dumps({"language": "fr", "predictions": rows}))
    return str(path)


def test_findings_as_text(clean, broken, capsys):
    assert main(["audit", clean, broken]) == 0
    first, blank, head, *_, last = capsys.readouterr().out.splitlines()
    assert first == "1 finding in 2 files on 1 set of utterances"
    assert blank == ""
    assert head == "severe  D.30  Empty, looping or foreign outputs  (10 utterances)"
    assert last.startswith("looked for and not found: A.1 script mix; A.2 ")
    assert "D.30" not in last


def test_what_could_not_be_looked_for_is_said(clean, capsys):
    assert main(["audit", clean]) == 0
    out = capsys.readouterr().out
    assert out.startswith("nothing found in 1 file on 1 set of utterances\n")
    assert "not looked for: A.5 claims below the detectable effect; B.16 updates not applied (needs a fine-tuned" in out


def test_findings_as_json(clean, broken, capsys):
    assert main(["audit", clean, broken, "--json"]) == 0
    (finding,) = json.loads(capsys.readouterr().out)
    assert (finding["trap"], finding["files"], finding["size"]) == ("D.30", [broken], 10)
    assert (finding["unit"], finding["severity"], finding["sizes"]) == ("utterances", "severe", {broken: 10})
    assert finding["command"] == f"asr-headroom score {broken} --normalizer fr"
    assert main(["audit", clean, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_the_command_that_shows_a_finding_runs(broken, capsys):
    main(["audit", broken, "--json"])
    (finding,) = json.loads(capsys.readouterr().out)
    assert main(finding["command"].split()[1:]) == 0
    assert "10" in capsys.readouterr().out


def test_exit_code_on_request(clean, broken):
    assert main(["audit", clean, "--fail-on-findings"]) == 0
    assert main(["audit", broken, "--fail-on-findings"]) == 1


def test_run_directories_and_references_apart(tmp_path, capsys):
    run = make_results([(text, "") for text in SAID], name="own", language="fr")
    assert main(["audit", str(write_results(tmp_path / "own", run)), "--json"]) == 0
    assert [finding["trap"] for finding in json.loads(capsys.readouterr().out)] == ["D.30"]
    (tmp_path / "ref.txt").write_text("\n".join(SAID))
    (tmp_path / "hyp.txt").write_text("\n".join(["", *SAID[1:]]))
    words = ["audit", str(tmp_path / "hyp.txt"), "--reference", str(tmp_path / "ref.txt"), "--language", "French"]
    assert main(words) == 0
    assert "nothing found in 1 file" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--normalizer", "frr"], 2, "unknown normalizer 'frr'"),
        (["--base", "nowhere"], 2, "--base nowhere is none of the files"),
        (["--language", "klingonese"], 2, "klingonese"),
        (["nowhere.json"], 1, "no such file"),
    ],
)
def test_mistakes_end_without_traceback(clean, flags, code, message, capsys):
    assert main(["audit", clean, *flags]) == code
    assert message in capsys.readouterr().err


def test_a_file_given_twice(clean, capsys):
    assert main(["audit", clean, clean]) == 2
    assert "is given twice" in capsys.readouterr().err


def test_help_loads_nothing_heavy():
    code = "import sys, asr_headroom.cli.audit; sys.exit(any(m in sys.modules for m in ('numpy', 'torch', 'opencc')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
