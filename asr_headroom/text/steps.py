"""What a normaliser is made of: named rewrites of a text, and the rewrites that several profiles share.

The profiles themselves are in :mod:`asr_headroom.text.profiles`; callers start at :mod:`asr_headroom.text.normalize`.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from asr_headroom.text.units import Unit

__all__ = [
    "CharacterTable",
    "Normalizer",
    "Step",
    "collapse_spaces",
    "run_steps",
    "substitute",
    "to_simplified",
    "until_stable",
]

Rewrite = Callable[[str], str]


@dataclass(frozen=True)
class Step:
    """One named rewrite of a text."""

    name: str
    apply: Rewrite


@dataclass(frozen=True)
class Normalizer:
    """A named, versioned list of rewrites, and the unit in which its texts are scored.

    Calling it normalises a text; :meth:`trace` shows every step.

    Attributes:
        id: what ``--normalizer`` and results call it.
        version: rises whenever results can change.
        unit: the unit of the headline rate.
        steps: the rewrites, in order.
        description: one line for people.
        probes: further texts whose normal form enters the hash, for what the common probes do not show.
    """

    id: str
    version: int
    unit: Unit
    steps: tuple[Step, ...]
    description: str = ""
    probes: tuple[str, ...] = ()

    def __call__(self, text: str) -> str:
        """The text after all steps."""
        return self._remembered(text)

    def trace(self, text: str) -> list[tuple[str, str]]:
        """The text after each step that changed it, as ``(step name, text)``, the raw text first."""
        trace = [("raw", text)]
        for step in self.steps:
            changed = step.apply(trace[-1][1])
            if changed != trace[-1][1]:
                trace.append((step.name, changed))
        return trace

    @functools.cached_property
    def _remembered(self) -> Callable[[str], str]:
        # The references of a test are the same for all systems, and are asked for by every part of a report. Large
        # enough for both texts of 100,000 utterances (about 50 MB): a cache that is too small remembers none of them.
        return functools.lru_cache(maxsize=1 << 18)(functools.partial(run_steps, self.steps))

    @functools.cached_property
    def hash(self) -> str:
        """Eight hexadecimal digits of the SHA-256 of id, version, unit and behaviour on the probe texts."""
        behaviour = [self.id, self.version, self.unit, [self(probe) for probe in (*_PROBES, *self.probes)]]
        return hashlib.sha256(json.dumps(behaviour, ensure_ascii=True).encode()).hexdigest()[:8]


def run_steps(steps: tuple[Step, ...], text: str) -> str:
    """The text after all steps, in order."""
    for step in steps:
        text = step.apply(text)
    return text


class CharacterTable(dict[int, str]):
    """A table for ``str.translate`` that asks a rule about each character once, when it is first met."""

    def __init__(self, rule: Rewrite) -> None:
        super().__init__()
        self._rule = rule

    def __missing__(self, code_point: int) -> str:
        replacement = self[code_point] = self._rule(chr(code_point))
        return replacement


def substitute(pattern: str, replacement: str) -> Rewrite:
    """A rewrite by one regular expression."""
    compiled = re.compile(pattern)
    return lambda text: compiled.sub(replacement, text)


def collapse_spaces(text: str) -> str:
    """One space between words, none at the ends."""
    return " ".join(text.split())


def until_stable(rewrite: Rewrite) -> Rewrite:
    """The rewrite repeated until nothing changes, which makes it idempotent.

    Should the texts go round in a circle, the first of them in code point order stands for all. A rewrite that still
    finds something to change after 32 rounds is left there.
    """

    def apply(text: str) -> str:
        seen: list[str] = []
        while text not in seen and len(seen) < 32:
            seen.append(text)
            text = rewrite(text)
        return min(seen[seen.index(text) :]) if text in seen else text

    return apply


def to_simplified(text: str) -> str:
    """Traditional characters to simplified ones, by OpenCC's phrases and characters."""
    # Some variants have a simplified form that is simplified again (薴, 苧, 苎); two rounds reach them all.
    for _ in range(3):
        if _convertible().isdisjoint(text):
            break
        before, text = text, _opencc().convert(text)
        if text == before:
            break
    return text


@functools.cache
def _opencc() -> Any:
    # Loading OpenCC's tables takes ~0.1 s, so only those who score Chinese pay for it.
    from opencc import OpenCC

    return OpenCC("t2s")


@functools.cache
def _convertible() -> frozenset[str]:
    """The characters that some entry of OpenCC's tables changes; a text without them stays as it is."""
    changed: set[str] = set()
    for _, _, table in _opencc().dict_cache.values():
        for traditional, simplified in table.items():
            simplified = simplified.split()[0]
            is_aligned = len(traditional) == len(simplified)
            changed.update(a for i, a in enumerate(traditional) if not is_aligned or a != simplified[i])
    return frozenset(changed)


# Never changed: the hashes in old results come from them. A profile that needs more has its own.
_PROBES = (
    "",
    "  L’été, « c’est » — l'hiver… à 7 h 30 ; 12 % ‘ok’ d' eau aujourd'hui peut-être cœur ÆON Straße İ",
    "“Non” ! (oui) [ça] {là} · a–b a‐b a-b a—b a:b «»  e\u0301te\u0301 \u00a0\u202f.",
    "《簡體》和「繁體」：我們１２３，ABC　def！？、；…—·（好）'x' [y] {z} 3.5% ~",
    "हिन्दी किताब، العَرَبِيَّة ภาษาไทยที่ ２０２６ ½ ℃ 한국어 ー・",
)
