"""The page to listen with: every text escaped, every number where it belongs, recordings up to the limit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from asr_headroom.analysis.label_doctor import Diagnosis, Verdict
from asr_headroom.analysis.label_doctor_evidence import Clip, TextPool
from asr_headroom.analysis.label_doctor_rules import Finding
from asr_headroom.report.doctor_page import doctor_lines, doctor_page
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.text.normalize import get_normalizer


@pytest.fixture
def diagnosis():
    def verdict(id_, text, **facts):
        values = {"heard": {"judge": "un chien"}, "is_suspect": True, "kind": "swapped", "probability": 0.97,
                  "p_value": 0.001, "by_kind": {"swapped": 0.97}, "nats": (4.0, 0.5)} | facts  # fmt: skip
        return Verdict(clip=Clip(id=id_, text=text, duration=1.25, speaker="s1"), **values)

    return Diagnosis(
        verdicts=(
            verdict("a", "un <b>chat</b>", partner="c"),
            verdict("b", "…", kind="rule", nats=None, findings=(Finding("empty", "says nothing", is_severe=True),)),
            verdict("c", "un chien", is_suspect=False, kind=None, findings=(Finding("form", "holds markup: <x>"),)),
        ),
        false_alarms=0.05,
        shares={"swapped": 0.0123, "changed": 0.0},
        found_of_made={"swapped": 0.98, "changed": 0.12},
        columns=("loss", "rate"),
        pool=TextPool(["un <b>chat</b>", "un chien"], get_normalizer("basic")),
    )


@pytest.fixture
def utterances(tmp_path):
    speech = {}
    for id_, text in (("a", "chat"), ("b", "abc"), ("c", "un chien")):
        utterance = tone_utterance(text, id=id_)
        (tmp_path / f"{id_}.wav").write_bytes(utterance.audio)
        speech[id_] = replace(utterance, audio=tmp_path / f"{id_}.wav")
    return speech


def test_page(diagnosis, utterances):
    page = doctor_page(diagnosis, utterances, None, max_clips=1)
    assert "2 of 3 transcripts suspect" in page
    assert "<b>chat</b>" not in page
    assert "un &lt;b&gt;chat&lt;/b&gt;" in page
    assert page.count("<audio") == 1
    assert "1 recording left out" in page
    assert "+3.5 nats per token" in page
    assert "c: un chien" in page  # the partner
    assert "says nothing" in page
    assert "holds markup: &lt;x&gt;" in page  # of one that is no suspect
    assert "98 %" in page
    assert "http" not in page.replace("http://www.w3.org", "")


def test_a_recording_in_memory_is_named_as_such(diagnosis, utterances):
    inside = {id_: replace(utterance, audio=b"") for id_, utterance in utterances.items()}
    page = doctor_page(diagnosis, inside, None, max_clips=5)
    assert page.count("the recording is not a file of its own") == 2


def test_lines_for_a_terminal(diagnosis):
    lines = doctor_lines(diagnosis, limit=1)
    text = "\n".join(lines)
    assert "estimated to be wrong: transcript of another recording 1.2 %" in text
    assert "a word is wrong 12 %" in text
    shown = [line.split()[0] for line in lines if line.startswith(" ")]
    assert shown == ["97", "transcript", "heard", "+3.5"]
    assert lines[-1] == "… and 1 more"
