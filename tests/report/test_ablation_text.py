"""The table of an ablation: each setting once, where it came furthest, and what may be said."""

from __future__ import annotations

import re

import pytest

from asr_headroom.report.ablation_text import ablation_lines


def standing(name, decision, rate=None, **changes):
    values = {"setting": name, "step": 0, "error_rate": rate, "loss": rate, "behind": None, "difference": None,
              "ci_low": None, "ci_high": None, "decision": decision, "why": ""}  # fmt: skip
    return values | changes


@pytest.fixture
def facts():
    return {
        "settings": {str(i): {"learning_rate": 10.0**-i, "lora.rank": 8} for i in range(1, 7)},
        "rungs": [
            {
                "share": 0.125,
                "standings": [standing(name, "goes on", 0.5, difference=0.0) for name in "23461"],
            },
            {
                "share": 0.25,
                "standings": [
                    standing("3", "goes on", 0.2, difference=0.0),
                    standing("2", "goes on", 0.21, difference=0.01, ci_low=-0.02, ci_high=0.04),
                    standing("6", "goes on", 0.22, difference=0.02, ci_low=-0.02, ci_high=0.06),
                    standing("4", "rank", 0.25, difference=0.05, ci_low=-0.01, ci_high=0.11),
                    standing("1", "diverged", why="nan"),
                    standing("5", "budget"),
                ],
            },
            {
                "share": 0.5,
                "standings": [
                    standing("2", "goes on", 0.15, difference=0.0),
                    standing("3", "goes on", 0.16, difference=0.01),
                    standing("6", "budget"),
                ],
            },
            {
                "share": 1.0,
                "standings": [
                    standing("2", "finished", 0.1, difference=0.0),
                    standing("3", "finished", 0.104, difference=0.004, ci_low=-0.01, ci_high=0.018),
                ],
            },
        ],
        "chosen": "2", "not_told_apart": ["3"], "dropped_unproven": ["4", "5", "6"], "dev": {"unit": "character"},
        "steps": {"1": 0, "2": 100, "3": 100, "4": 25}, "steps_planned": {"1": 0, "2": 100, "3": 100, "4": 100},
        "minutes": {"1": 0.1, "2": 2.0, "3": 1.5, "4": 0.5, "5": 0.0},
        "delivered": {"alpha": 0.75, "because": "beats the base on dev"},
    }  # fmt: skip


def test_each_setting_stands_once_where_it_came_furthest(facts):
    lines = ablation_lines(facts)
    assert lines[0].split("  ")[0] == "setting"
    assert "dev CER" in lines[0]
    cells = [re.split("  +", line) for line in lines[1:7]]
    assert [row[0] for row in cells] == ["2", "3", "6", "4", "1", "5"]
    assert cells[0] == ["2", "0.01", "8", "100 of 100", "2.0", "10.00 %", "–", "chosen"]
    assert cells[1][-3:] == ["10.40 %", "+0.40 (-1.00 to +1.80)", "trained to its end"]
    assert cells[2][-3:] == ["22.00 %", "+2.00 (-2.00 to +6.00)", "no budget left to go on at 25 %"]
    assert cells[3][-1] == "dropped by rank at 25 %"
    assert cells[4][-3:] == ["–", "–", "diverged at 25 %"]
    assert cells[5][3:] == ["0 of 0", "0.0", "–", "–", "no budget left to go on at 25 %"]


def test_what_is_not_known_is_said(facts):
    text = "\n".join(ablation_lines(facts))
    assert "2 is the best on dev: learning_rate=0.01, lora.rank=8." in text
    assert "could not tell it apart from 3:" in text
    assert "without proof of being worse: 4, 5, 6" in text
    assert "225 optimiser steps in 4.1 minutes, guard included; to their ends the 4 settings tried" in text
    assert "(75%)" in text
    assert "Delivered: point 0.75 of the way from the base (beats the base on dev)." in text


def test_a_lead_beyond_noise_is_said(facts):
    facts |= {"not_told_apart": [], "dropped_unproven": []}
    text = "\n".join(ablation_lines(facts))
    assert "ahead of all that trained to their end beyond noise" in text
    assert "without proof" not in text


def test_who_finished_alone_is_ahead_of_nobody(facts):
    facts |= {"not_told_apart": []}
    facts["rungs"][-1]["standings"][1]["decision"] = "diverged"
    assert "ahead of all" not in "\n".join(ablation_lines(facts))
