"""An ablation as a table for the terminal: how far each setting came, why it stopped, and what could not be told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from asr_headroom.text.units import rate_name

__all__ = ["AblationTable", "ablation_conclusions", "ablation_lines", "ablation_table"]

_WORDS = {
    "finished": "trained to its end",
    "rank": "dropped by rank",
    "behind": "dropped: behind beyond noise",
    "diverged": "diverged",
    "budget": "no budget left to go on",
    "goes on": "goes on",
}


class AblationTable(NamedTuple):
    """``head`` names the columns; each of ``rows`` is a setting, those that came furthest first."""

    head: list[str]
    rows: list[list[str]]


def ablation_lines(facts: Mapping[str, Any]) -> list[str]:
    """The table, the best first, and what may be said of the choice.

    Args:
        facts: ``ablation.json``, of a finished ablation.
    """
    head, body = ablation_table(facts)
    rows = [head, *body]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [*table, "", *ablation_conclusions(facts)]


def ablation_table(facts: Mapping[str, Any]) -> AblationTable:
    """Each setting once, where it came furthest.

    Args:
        facts: see :func:`ablation_lines`.
    """
    fields = list(next(iter(facts["settings"].values())))
    rate = f"dev {rate_name(facts['dev']['unit'])}" if "dev" in facts else "dev error rate"
    return AblationTable(
        head=["setting", *fields, "steps", "minutes", rate, "from the best there", "what became of it"],
        rows=[_row(facts, standing, share) for standing, share in _last_standings(facts)],
    )


def _last_standings(facts: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], float]]:
    """Where each setting came furthest, with the share; those that came furthest first, the best of them first."""
    seen: dict[str, tuple[Mapping[str, Any], float]] = {}
    for rung in reversed(facts["rungs"]):
        for standing in rung["standings"]:
            later, share = seen.get(standing["setting"], (standing, rung["share"]))
            if later["decision"] == "budget" and later["error_rate"] is None and later is not standing:
                # Not reached: what is known of it is from the rung before.
                later, share = {**standing, "decision": "budget"}, rung["share"]
            seen[standing["setting"]] = later, share
    return list(seen.values())


def _row(facts: Mapping[str, Any], standing: Mapping[str, Any], share: float) -> list[str]:
    name = standing["setting"]
    chosen = "chosen" if name == facts["chosen"] else _WORDS[standing["decision"]]
    if standing["decision"] not in ("finished", "goes on") and share < 1:
        chosen += f" at {100 * share:g} %"
    return [
        name,
        *(f"{value:g}" if isinstance(value, float) else str(value) for value in facts["settings"][name].values()),
        f"{facts['steps'].get(name, 0)} of {facts['steps_planned'].get(name, 0)}",
        f"{facts['minutes'].get(name, 0.0):.1f}",
        "–" if standing["error_rate"] is None else f"{100 * standing['error_rate']:.2f} %",
        _difference(standing),
        chosen,
    ]


def _difference(standing: Mapping[str, Any]) -> str:
    if not standing["difference"] and standing["ci_low"] is None:
        return "–"
    interval = ""
    if standing["ci_low"] is not None:
        interval = f" ({100 * standing['ci_low']:+.2f} to {100 * standing['ci_high']:+.2f})"
    return f"{100 * standing['difference']:+.2f}{interval}"


def ablation_conclusions(facts: Mapping[str, Any]) -> list[str]:
    """What may be said of the choice, what may not, and what it cost, in sentences.

    Args:
        facts: see :func:`ablation_lines`.
    """
    chosen = facts["chosen"]
    values = ", ".join(f"{key}={value}" for key, value in facts["settings"][chosen].items())
    lines = [f"{chosen} is the best on dev: {values}."]
    if tied := facts["not_told_apart"]:
        lines.append(
            f"The race could not tell it apart from {_names(tied)}: another dev set may choose another of these."
        )
    elif sum(standing["decision"] == "finished" for standing in facts["rungs"][-1]["standings"]) > 1:
        lines.append("It is ahead of all that trained to their end beyond noise.")
    if unproven := facts["dropped_unproven"]:
        lines.append(
            f"Dropped by rank or for want of budget, without proof of being worse: {_names(unproven)} "
            "(`--mode grid` trains all to their end)."
        )
    taken, planned = sum(facts["steps"].values()), sum(facts["steps_planned"].values())
    lines.append(
        f"{taken:,} optimiser steps in {sum(facts['minutes'].values()):.1f} minutes, guard included; to their ends "
        f"the {len(facts['steps'])} settings tried would have taken {planned:,} ({taken / max(1, planned):.0%})."
    )
    if "delivered" in facts:
        because = facts["delivered"]["because"]
        alpha = facts["delivered"]["alpha"]
        what = f"point {alpha:g} of the way from the base" if alpha else "the base"
        lines.append(f"Delivered: {what}{f' ({because})' if because else ''}.")
    return lines


def _names(names: Sequence[str]) -> str:
    return ", ".join(names)
