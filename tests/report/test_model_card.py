import dataclasses

import pytest
import yaml

from asr_headroom.errors import UsageError
from asr_headroom.report.model_card import choose_system, write_model_card
from asr_headroom.report.tables import build_tables


def with_model(results, **facts):
    return dataclasses.replace(results, run=dataclasses.replace(results.run, model={**results.run.model, **facts}))


def moved(results, name):
    run = dataclasses.replace(results.run, data={"name": name, "fingerprint": name, "source": "google/fleurs:fr_fr"})
    return dataclasses.replace(results, run=run)


@pytest.fixture
def tables(base, tuned, guard):
    run = dataclasses.replace(
        tuned.run, seed=42, decoding={"beam_size": 1}, decoding_hash="abc123", provenance={"revision": "f00"}
    )
    tuned = with_model(dataclasses.replace(tuned, run=run), base="hub/base", guard=guard(0.5), weights="0011")
    return build_tables([base, tuned, moved(base, "far"), moved(tuned, "far")])


def header(card):
    assert card.startswith("---\n")
    return yaml.safe_load(card.split("---\n")[1])


def test_the_hub_reads_it(tables):
    """The hub's own loader takes the header, and finds every result in it."""
    from huggingface_hub import ModelCard

    card = ModelCard(write_model_card(tables, "base · lora", licence="apache-2.0"))
    assert card.data.base_model == "hub/base"
    assert card.data.license == "apache-2.0"
    assert card.data.model_name == "base · lora"
    results = {result.dataset_name: result for result in card.data.eval_results}
    assert set(results) == {"a test", "far"}
    for table in tables:
        (row,) = (row for row in table.rows if row.name == "base · lora")
        found = results[table.data]
        assert (found.task_type, found.metric_type) == ("automatic-speech-recognition", "wer")
        assert found.metric_value == pytest.approx(100 * row.score.estimate.rate, abs=0.005)
        assert found.metric_args["n"] == 40
        assert found.metric_args["ci_low"] <= found.metric_value <= found.metric_args["ci_high"]
        assert found.metric_args["normalizer"] == f"fr ({table.normalizer.hash})"
        assert found.metric_args["decoding_hash"] == "abc123"
    assert results["far"].dataset_type == "google/fleurs:fr_fr"
    assert results["a test"].dataset_type == "a-test"


def test_people_read_what_a_number_rests_on(tables):
    card = write_model_card(tables, "base · lora", training={"budget": "45m", "train_data": None})
    for text in (
        "**base · lora is better than base, by 4.17 points** on a test.",
        "40 utterances in 40 clusters (by utterance)",
        f"fr, hash {tables[0].normalizer.hash}",
        "hash abc123 (beam_size 1)",
        "- base model: hub/base",
        "- method: lora",
        "- weights: 1.00 M, 50.0 k trained",
        "- budget: 45m",
        "- minutes of training: 3.0",
        "- guard: delivered half way from the base (0.5): it is the best",
        "- licence: not stated; that of the base model applies",
        "## Gain and damage",
        "- revision: f00",
        "- seed: 42",
    ):
        assert text in card
    assert "train data" not in card
    rows = [line for line in card.splitlines() if line.startswith("|")]
    results = rows[: rows.index(next(row for row in rows if row.startswith("| system")))]
    assert len({row.count("|") for row in results}) == 1


def test_folders_of_this_machine_stay_here(base, tuned):
    tuned = with_model(tuned, base="/home/someone/models/whisper-x")
    card = write_model_card(build_tables([base, tuned]), "base · lora")
    assert "base_model" not in header(card)
    assert "/home/someone" not in card
    assert "- base model: whisper-x" in card


def test_characters_are_measured_as_cer():
    from asr_headroom.testing.results import make_results

    results = make_results([("你好吗", "你好"), ("好", "好")] * 10, name="m", normalizer_id="zh", language="zh-CN")
    found = header(write_model_card(build_tables([results]), "m"))
    assert found["language"] == ["zh"]
    assert found["metrics"] == ["cer"]
    assert found["model-index"][0]["results"][0]["metrics"][0]["value"] == 25.0


def test_which_system(base, tuned, bigger):
    tables = build_tables([base, tuned, bigger])
    assert choose_system(tables) == "base · lora"
    assert choose_system(tables, "bigger") == "bigger"
    assert choose_system(build_tables([base])) == "base"
    with pytest.raises(UsageError, match="did you mean 'bigger'"):
        choose_system(tables, "biger")
    with pytest.raises(UsageError, match="--card-of"):
        choose_system(build_tables([base, bigger, tuned], base="base"))


def test_hostile_names_break_nothing(base, tuned):
    name = 'a: "b"\n| <script>x</script> ---'
    run = dataclasses.replace(tuned.run, name=name)
    card = write_model_card(build_tables([base, dataclasses.replace(tuned, run=run)]), name)
    assert header(card)["model-index"][0]["name"] == name
    assert "<script" not in card.split("---\n", 2)[2]
