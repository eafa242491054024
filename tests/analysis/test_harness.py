"""Alarms of a harness: raised by outputs made wrong on purpose, silent over the study's honest ones."""

from __future__ import annotations

import dataclasses
import random

import pytest

from asr_headroom.analysis.harness import ALARMS
from asr_headroom.report.tables import build_tables, to_markdown
from asr_headroom.results.readers import read_results
from asr_headroom.testing.results import make_results

WORDS = ["le", "la", "une", "maison", "chat", "rouge", "grand", "petit", "va", "vient", "dort", "mange", "boit", "sur"]
DRAW = random.Random(5)
SENTENCES = [" ".join(DRAW.sample(WORDS, 7)) for _ in range(60)]


def heard(sentence, share, draw):
    """The sentence with a share of its words replaced."""
    return " ".join(draw.choice(WORDS) if draw.random() < share else word for word in sentence.split())


def alarms(hypotheses, **model):
    results = make_results(list(zip(SENTENCES, hypotheses, strict=True)), language="fr", model=model)
    return build_tables([results])[0].rows[0].alarms


def test_an_honest_system_raises_none():
    draw = random.Random(1)
    for share in (0.0, 0.1, 0.4):
        assert alarms([heard(s, share, draw) for s in SENTENCES], parameters=244_000_000) == ()


def test_references_out_of_order_are_unrelated():
    assert "unrelated" in alarms(SENTENCES[7:] + SENTENCES[:7], parameters=1_000)
    draw = random.Random(2)
    assert "unrelated" in alarms([heard(s, 1.0, draw) for s in SENTENCES], parameters=1_000)


@pytest.mark.parametrize(
    ("parameters", "share", "raised"), [(1_500_000_000, 0.6, True), (39_000_000, 0.6, False), (39_000_000, 0.95, True)]
)
def test_a_rate_that_no_system_of_that_size_has(parameters, share, raised):
    draw = random.Random(3)
    found = alarms([heard(s, share, draw) + " euh" for s in SENTENCES], parameters=parameters)
    assert ("rate" in found) is raised


def test_few_odd_outputs_are_no_alarm_and_many_are():
    assert alarms(["", "", *SENTENCES[2:]]) == ()
    assert alarms([*[""] * 6, *SENTENCES[6:]]) == ("empty",)
    english = "it is the best of the days that we had with them"
    assert alarms([*[english] * 6, *SENTENCES[6:]]) == ("foreign",)


def test_a_mismatch_baseline_raises_none_and_is_marked():
    results = make_results([(s, "") for s in SENTENCES], language="fr", model={"language_mismatch": True})
    (table,) = build_tables([results])
    assert table.rows[0].alarms == ()
    assert "| system (not made for fr) |" in to_markdown([table])


def test_the_table_names_and_explains_them():
    results = make_results([(s, "") for s in SENTENCES], language="fr")
    text = to_markdown(build_tables([results]))
    assert "| harness alarm |" in text
    assert f"- harness alarm 'empty' (system): {ALARMS['empty']}; suspect the harness before the model" in text


MILLIONS = {"tiny": 39, "small4bit": 24_000, "small": 244, "medium": 769, "turbo": 809, "large": 1543, "granite": 2000}


@pytest.mark.shared
def test_of_the_published_outputs_those_alarm_whose_harness_was_wrong(shared):
    """Granite without its chat template, English-only Canary-Qwen on French, the run from random weights; no other."""
    alarmed, silent = set(), 0
    for path in sorted((shared / "published/predictions").rglob("*.json")):
        millions = next((number for name, number in MILLIONS.items() if name in path.name), None)
        results = read_results(path)
        run = dataclasses.replace(results.run, model={"parameters": millions and millions * 1_000_000})
        (table,) = build_tables([dataclasses.replace(results, run=run)])
        if table.rows[0].alarms:
            alarmed.add(path.stem.removesuffix("_dev100"))
        else:
            silent += 1
    assert alarmed == {
        "granite_speech_2b_base_fr", "granite_speech_2b_base_zh", "granite_speech_2b_full_fr",
        "granite_speech_2b_lora_zh", "canary_qwen_fr", "scratch_small",
    }  # fmt: skip
    assert silent >= 30
