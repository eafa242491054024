"""The verb on files as people have them: the study's JSON, and hypotheses with references apart."""

import json

import numpy as np
import pytest
import soundfile

from asr_headroom.cli.main import main

ZH = [
    ("后面的国家很好", "後面的國家很好"),
    ("他来了吗", "他来了" + "吗" * 60),
    ("今天很好", "今天不好"),
    ("我们走", "我們走了"),
] * 5


@pytest.fixture
def files(tmp_path):
    def write(name, pairs):
        path = tmp_path / name
        rows = [
            {"ref": f"{reference}{i}", "hyp": f"{hypothesis}{i}"} for i, (reference, hypothesis) in enumerate(pairs)
        ]
        path.write_text(json.dumps({"predictions": rows}, ensure_ascii=False), encoding="utf-8")
        return str(path)

    return write


def test_first_line_names_the_largest_cause(files, capsys):
    base, system = files("base.json", ZH), files("system.json", [(r, h if "來" in h else r) for r, h in ZH])
    assert main(["analyze", base, system, "--language", "zh"]) == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert "the largest cause, repetition loops (broken output, not hearing), holds −" in first
    assert "as study-zh counts them" in second


def test_hearing_is_said_to_be_hearing(files, capsys):
    base = files("base.json", [("le chat dort", "le chat dort"), ("il pleut", "il pleut")] * 9)
    system = files("system.json", [("le chat dort", "le rat dort"), ("il pleut", "il pleut")] * 9)
    assert main(["analyze", base, system, "--language", "fr"]) == 0
    assert "the largest cause is hearing, +" in capsys.readouterr().out.splitlines()[0]


def test_json_parts_add_up(files, capsys):
    base, system = files("base.json", ZH), files("system.json", [(r, r) for r, _ in ZH])
    assert main(["analyze", base, system, "--language", "zh", "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert plain["first_cause"] == "loops"
    assert plain["n"] == len(ZH)
    assert sum(cause["difference"] for cause in plain["causes"]) == pytest.approx(plain["difference"])
    assert sum(plain["groups"].values()) == pytest.approx(plain["difference"])
    assert sum(c["errors"] for c in plain["base"]["categories"]) == plain["base"]["errors"]
    assert plain["base"]["rate"] - plain["system"]["rate"] == pytest.approx(-plain["difference"])
    script = next(cause for cause in plain["causes"] if cause["cause"] == "script")
    assert script["group"] == "format"
    assert script["ci_low"] <= script["difference"] <= script["ci_high"]
    assert {c["cause"] for c in plain["regressions"]} <= {c["cause"] for c in plain["causes"]}


def test_one_run_alone(files, capsys):
    path = files("base.json", ZH)
    assert main(["analyze", path, "--language", "zh"]) == 0
    text = capsys.readouterr().out
    assert "holds" in text.splitlines()[0]
    assert "rate without it" in text
    assert main(["analyze", path, "--language", "zh", "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert "difference" not in plain
    assert sum(cause["rate"] for cause in plain["base"]["causes"]) == pytest.approx(plain["base"]["rate"])


def test_no_error_at_all(files, capsys):
    path = files("base.json", [("oui", "oui"), ("non", "non")])
    assert main(["analyze", path, path, "--language", "fr"]) == 0
    assert "no cause differs" in capsys.readouterr().out.splitlines()[0]
    assert main(["analyze", path, "--language", "fr"]) == 0
    assert "there is no error to explain" in capsys.readouterr().out.splitlines()[0]


def test_references_from_a_file(tmp_path, capsys):
    (tmp_path / "ref.txt").write_text("le chat dort\nil pleut ici\n", encoding="utf-8")
    (tmp_path / "hyp.txt").write_text("le rat dort\nil pleut ici\n", encoding="utf-8")
    words = ["analyze", str(tmp_path / "hyp.txt"), "--reference", str(tmp_path / "ref.txt"), "--language", "fr"]
    assert main(words) == 0
    assert "16.67 %" in capsys.readouterr().out.splitlines()[0]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--normalizer", "nonsense"], "unknown normalizer"),
        (["--top", "-1"], "--top is -1"),
        (["--by", "microphone"], "no column 'microphone'"),
        (["--cluster", "speaker"], "cannot cluster by speaker"),
    ],
)
def test_wrong_usage_is_said(files, capsys, extra, message):
    path = files("base.json", ZH)
    assert main(["analyze", path, "--language", "zh", *extra]) == 2
    assert message in capsys.readouterr().err


def test_different_tests_are_refused(files, capsys):
    base, system = files("base.json", ZH), files("system.json", ZH[:7])
    assert main(["analyze", base, system, "--language", "zh"]) == 1
    assert "same utterances" in capsys.readouterr().err
    assert main(["analyze", base, system, "--language", "zh", "--intersect"]) == 0
    assert f"{len(ZH) - 7} that only one of the two has are left out" in capsys.readouterr().out


def test_missing_ends_are_said_where_hearing_is(files, capsys):
    whole = [(f"un deux trois quatre cinq six sept huit neuf {n}", f"un deux trois {'quatre cinq' * (n > 3)}")
             for n in range(18)]  # fmt: skip
    path = files("cut.json", whole)
    assert main(["analyze", path, "--language", "fr", "--normalizer", "raw"]) == 0
    assert "leaves out the end of 18 utterances, 100 % of its errors" in capsys.readouterr().out


def test_two_perfect_runs_have_no_tables_of_errors(files, capsys):
    path = files("base.json", [("oui", "oui"), ("non", "non")])
    assert main(["analyze", path, path, "--language", "fr"]) == 0
    text = capsys.readouterr().out
    assert "neither of the two makes an error" in text
    assert "category" not in text
    assert "got worse" not in text


def test_an_interval_of_a_rate_is_not_below_zero(files, capsys):
    path = files("one.json", [("", "oui"), *((f"un deux trois {n}", f"un deux trois {n}") for n in range(19))])
    assert main(["analyze", path, "--language", "fr", "--json"]) == 0
    causes = json.loads(capsys.readouterr().out)["base"]["causes"]
    assert min(cause["ci_low"] for cause in causes) == 0


def test_noise_is_a_column_on_request(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    time = np.arange(16_000) / 16_000
    rows = []
    for number in range(32):
        noise = (0.1 if number % 2 else 0.003) * np.random.default_rng(number).standard_normal(16_000)
        soundfile.write(f"{number}.wav", 0.3 * ((time % 0.25) < 0.15) * np.sin(1900 * time) + noise, 16_000)
        heard = f"un deux {'xx' if number % 2 else 'trois'} {number}"
        rows.append({"audio_filepath": f"{number}.wav", "text": f"un deux trois {number}", "pred_text": heard})
    rows.append({"audio_filepath": "gone.wav", "text": "un deux", "pred_text": "un deux"})
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["analyze", "a.jsonl", "--language", "fr", "--snr", "--by", "SNR (dB)", "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert {part["column"] for part in plain["slices"]} == {"SNR (dB)"}
    assert any("1 of 33 recordings could not be measured" in note for note in plain["notes"])
    (tmp_path / "b.jsonl").write_text(json.dumps({"text": "un", "pred_text": "un"}) + "\n")
    assert main(["analyze", "b.jsonl", "--language", "fr", "--snr"]) == 1
    assert "--snr: none of the 1 recordings could be measured" in capsys.readouterr().err
