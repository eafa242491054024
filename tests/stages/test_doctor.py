"""doctor: planted swaps are found by a model trained on the other folds; resumable; nothing deleted silently."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from asr_headroom.analysis.label_doctor_evidence import TextPool
from asr_headroom.analysis.label_doctor_planting import Planter
from asr_headroom.budget import Budget
from asr_headroom.cli.main import main
from asr_headroom.data.manifest import write_manifest
from asr_headroom.data.readers import read_manifest
from asr_headroom.errors import BudgetError, ConfigError, ResultsError, TrainingError
from asr_headroom.lab.settings import base_path
from asr_headroom.lab.speech import SpeechRecipe, write_corpus
from asr_headroom.models.registry import load_model
from asr_headroom.results.store import write_json
from asr_headroom.stages.doctor import DoctorConfig, DoctorTraining, doctor
from asr_headroom.stages.label_judge import ModelJudge
from asr_headroom.stages.label_scores import LabelScorer, read_judged
from asr_headroom.stopping import StopRequests
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_whisper
from asr_headroom.text.normalize import get_normalizer

BASIC = get_normalizer("basic")


def tones(folder, count, *, swap=0):
    """A manifest of tone words by six speakers; the first ``swap`` pairs have each other's transcripts."""
    generator = np.random.default_rng(1)
    words = sorted({"".join(generator.choice(list("abcdef"), size=generator.integers(3, 7))) for _ in range(3 * count)})
    texts = [words[i] for i in generator.permutation(len(words))[:count]]
    (folder / "audio").mkdir(parents=True)
    speech = []
    for index, text in enumerate(texts):
        utterance = tone_utterance(text, id=f"u{index:03d}", speaker=f"s{index % 6}", seed=index)
        path = folder / "audio" / f"{index}.wav"
        path.write_bytes(utterance.audio)
        partner = index ^ 1 if index < 2 * swap else index
        speech.append(replace(utterance, audio=path, text=texts[partner]))
    write_manifest(folder / "train.jsonl", speech)
    return folder / "train.jsonl"


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_whisper(multilingual=False).save_pretrained(folder)
    return folder


def config(model_folder, data, output, **changes):
    settings = {
        "data": str(data), "models": (str(model_folder),), "output": str(output), "window": "fit", "folds": 2,
        "normalizer": "basic",
        "training": DoctorTraining(method="full", learning_rate=3e-3, max_steps=2, eval_steps=2, logging_steps=100),
    }  # fmt: skip
    return DoctorConfig(**(settings | changes))


def test_from_the_command_line_with_folds_to_the_clean_manifest(model_folder, tmp_path, capsys):
    data = tones(tmp_path / "data", 48, swap=2)
    command = [
        "doctor", str(data), "--models", str(model_folder), "--folds", "2", "--window", "fit", "--write-clean",
        "--normalizer", "basic", "--output", str(tmp_path / "out"), "--max-clips", "3", "--quiet",
        *("--set", "training.method=full", "--set", "training.max_steps=2", "--set", "training.eval_steps=2"),
    ]  # fmt: skip
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "of 48 transcripts suspect" in printed
    verdicts = [json.loads(line) for line in (tmp_path / "out/verdicts.jsonl").read_text().splitlines()]
    assert len(verdicts) == 48
    assert {v["id"] for v in verdicts} == {f"u{i:03d}" for i in range(48)}
    record = json.loads((tmp_path / "out/doctor.json").read_text())
    assert record["minutes"]["train"] > 0
    assert record["minutes"]["score"] > 0
    kept, gone = (
        (read_manifest(str(tmp_path / "out" / name)).utterances for name in ("clean.jsonl", "removed.jsonl"))
        if record["removed_by_write_clean"]
        else (read_manifest(str(tmp_path / "out/clean.jsonl")).utterances, [])
    )
    assert len(kept) + len(gone) == 48
    assert not list((tmp_path / "out/judges").rglob("*.safetensors"))  # a fold's weights are not kept
    page = (tmp_path / "out/page.html").read_text()
    assert page.count("<audio") == min(3, sum(v["suspect"] for v in verdicts))
    # The same command reads what it has; another threshold is another reading of the same scores.
    assert main([*command, "--false-alarms", "0.2"]) == 0
    assert json.loads((tmp_path / "out/doctor.json").read_text())["minutes"] == record["minutes"]


def test_swaps_are_found_by_a_model_that_hears(tmp_path):
    """The laboratory's speech and its recogniser, as it is."""
    pytest.importorskip("espeakng_loader")
    manifest = write_corpus(tmp_path / "speech", SpeechRecipe(language="fr", split="test", count=48, seed=3))
    speech = list(read_manifest(str(manifest)).utterances)
    texts = [utterance.text for utterance in speech]
    swapped = [replace(u, text=texts[i ^ 1 if i < 6 else i]) for i, u in enumerate(speech)]
    write_manifest(tmp_path / "swapped.jsonl", swapped)
    found = doctor(config(base_path(), tmp_path / "swapped.jsonl", tmp_path / "out", fit=False, normalizer=None))
    first = {verdict.clip.id: verdict for verdict in found.diagnosis.verdicts[:6]}
    assert set(first) == {utterance.id for utterance in speech[:6]}
    assert {verdict.kind for verdict in first.values()} == {"swapped"}
    assert all(verdict.nats is not None and verdict.nats[0] > verdict.nats[1] for verdict in first.values())
    for number in range(6):
        assert first[speech[number].id].partner == speech[number ^ 1].id


@pytest.fixture(scope="module")
def scorer(model_folder):
    texts = ["abc", "defab", "cafe", "bead", "fade", "deaf", "faced", "decaf"]
    model = load_model(str(model_folder), window="fit")
    speech = [tone_utterance(text, id=text, speaker=text) for text in texts]
    pool, planter = TextPool(texts, BASIC), Planter(texts, "character")
    return LabelScorer(model, pool, planter, form="as-is", seed=0), speech, model


def test_scores_are_the_models_losses(scorer):
    label_scorer, speech, model = scorer
    batch = [u for u in speech if model.batch_key(u) == model.batch_key(speech[1])]
    judged = label_scorer.judge(batch)
    for number, utterance in enumerate(batch):
        one = judged[utterance.id]
        loss = model.loss(model.collate([utterance]))
        assert -sum(one.given.token_log_probs) == pytest.approx(loss.nats.item(), abs=1e-3)
        assert len(one.given.token_log_probs) == loss.num_targets
        for kind, wrong in one.planted.items():
            loss = model.loss(model.collate([replace(utterance, text=wrong.text)]))
            assert -sum(wrong.token_log_probs) == pytest.approx(loss.nats.item(), abs=1e-3), kind
        away = batch[(number + len(batch) // 2) % len(batch)]
        loss = model.loss(model.collate([replace(away, text=utterance.text)]))
        assert -sum(one.elsewhere["given"].token_log_probs) == pytest.approx(loss.nats.item(), abs=1e-3)
        assert utterance.text not in {rival.text for rival in one.rivals}


@pytest.mark.parametrize(("language", "written"), [("fr", "Il lit i."), ("en", "Il lit I."), (None, "Il lit I.")])
def test_targets_are_written_in_their_language(scorer, language, written):
    """The English pronoun is no letter of other languages."""
    _, speech, model = scorer
    label_scorer = LabelScorer(model, TextPool(["a"], BASIC), Planter(["a"], "word"), form="sentence", seed=0)
    assert label_scorer._written(replace(speech[0], language=language), "IL LIT I").text == written


def test_scoring_goes_on_after_a_kill_and_obeys_a_budget(scorer, tmp_path):
    label_scorer, speech, _ = scorer
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    booked = []
    with StopRequests() as stops:
        run = {"batch_size": 4, "stops": stops, "book": booked.append}
        label_scorer.score(speech, whole, budget=Budget(None), **run)
        assert len(booked) == 3  # windows of 1 and 2 s; the larger group in two batches
        cut.write_text("".join(whole.read_text().splitlines(keepends=True)[:5]) + '{"id": "decaf", "hea')
        label_scorer.score(speech, cut, budget=Budget(None), **run)
        assert read_judged(cut) == read_judged(whole)
        with pytest.raises(BudgetError, match="0 of 8 clips scored"):
            label_scorer.score(speech, tmp_path / "none.jsonl", budget=Budget(1.0, used=2.0), **run)
    whole.write_text('{"id": "a"}\n')
    with pytest.raises(ResultsError, match=r"whole\.jsonl:1: damaged"):
        read_judged(whole)


def test_predictions_alone_are_judges_too(tmp_path):
    data = tones(tmp_path / "data", 60, swap=3)
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    right = {row["id"]: rows[int(row["id"][1:]) ^ 1]["text"] if int(row["id"][1:]) < 6 else row["text"] for row in rows}
    lines = [{"id": row["id"], "reference": row["text"], "hypothesis": right[row["id"]]} for row in rows]
    write_json(tmp_path / "heard.json", lines)
    found = doctor(
        DoctorConfig(data=str(data), predictions=(str(tmp_path / "heard.json"),), output=str(tmp_path / "out"))
    )
    assert {verdict.clip.id for verdict in found.diagnosis.verdicts[:6]} == {f"u{i:03d}" for i in range(6)}
    named = {verdict.clip.id: verdict.partner for verdict in found.diagnosis.verdicts[:6] if verdict.partner}
    assert len(named) >= 2  # of words of few letters, several are alike, and then none is named
    assert all(partner == f"u{int(id_[1:]) ^ 1:03d}" for id_, partner in named.items())


def test_a_model_trained_anew_is_another_judge(tmp_path):
    folder, data = tmp_path / "model", tones(tmp_path / "data", 48)
    settings = config(folder, data, tmp_path / "out", fit=False)
    tiny_whisper(multilingual=False, seed=0).save_pretrained(folder)
    first = {verdict.clip.id: verdict.nats for verdict in doctor(settings).diagnosis.verdicts}
    tiny_whisper(multilingual=False, seed=1).save_pretrained(folder)
    second = {verdict.clip.id: verdict.nats for verdict in doctor(settings).diagnosis.verdicts}
    assert all(first[id_] != second[id_] for id_ in first)


def test_one_judge_under_two_names_is_refused(model_folder, tmp_path):
    data = tones(tmp_path / "data", 8)
    shutil.copytree(model_folder, tmp_path / "copy")
    with pytest.raises(ConfigError, match="have the same weights"):
        doctor(config(model_folder, data, tmp_path / "out", models=(str(model_folder), str(tmp_path / "copy"))))


def test_no_fold_is_trained_once_the_budget_is_used_up(model_folder, tmp_path):
    data = tones(tmp_path / "data", 48)
    speech = read_manifest(str(data)).utterances
    texts = [utterance.text for utterance in speech]
    booked = []
    model = ModelJudge(
        config(model_folder, data, tmp_path / "out"),
        str(model_folder),
        directory=tmp_path / "out",
        budget=Budget(60.0, used=61.0),
        book=lambda stage, seconds: booked.append(stage),
    )
    with pytest.raises(BudgetError, match="used up before fold 1 of 2"):
        model.judge(speech, BASIC, TextPool(texts, BASIC), Planter(texts, "character"), {})
    assert not booked


def test_minutes_of_a_training_that_was_stopped_are_booked(model_folder, tmp_path):
    """Otherwise a budget would begin anew with every session."""
    data = tones(tmp_path / "data", 48)
    with pytest.raises(TrainingError, match="raise the budget"):
        doctor(config(model_folder, data, tmp_path / "out", budget="1s"))
    assert json.loads((tmp_path / "out/doctor.json").read_text())["minutes"]["train"] > 0


def test_files_are_read_before_any_model_is(model_folder, tmp_path, monkeypatch):
    data = tones(tmp_path / "data", 48)
    monkeypatch.setattr(ModelJudge, "judge", lambda *_: pytest.fail("a model was asked first"))
    with pytest.raises(ResultsError, match="nothere"):
        doctor(config(model_folder, data, tmp_path / "out", predictions=("nothere.json",)))


def test_another_runs_folder_is_refused(model_folder, tmp_path):
    data = tones(tmp_path / "data", 8)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/doctor.json").write_text('{"identity": "other", "minutes": {}}')
    with pytest.raises(ResultsError, match="other data or settings"):
        doctor(config(model_folder, data, tmp_path / "out"))


def test_settings_that_cannot_work():
    with pytest.raises(ConfigError, match="somebody's opinion") as caught:
        DoctorConfig(data="d", folds=1, false_alarms=0.7, budget="soon")
    for part in ("folds is 1", "false_alarms is 0.7", "budget 'soon'"):
        assert part in str(caught.value)
    with pytest.raises(ConfigError, match="learning_rates"):
        DoctorConfig(data="d", models=("m",), training=DoctorTraining(learning_rate=None, learning_rates=(1e-3, 1e-4)))
