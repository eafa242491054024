"""Wrong transcripts made on purpose: what an error of each kind looks like in these data, to this model.

Nobody knows which transcripts of a corpus are wrong, but anybody can spoil one. The label doctor spoils a copy of each
transcript in every way it looks for, has the copies scored like the transcripts themselves, and so learns to tell the
two apart on the corpus at hand. The copies are made by rules that follow; real errors follow none.
"""

from __future__ import annotations

import random
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal

from asr_headroom.text.units import Unit, split_units

__all__ = ["KINDS", "Kind", "Planter"]

Kind = Literal["swapped", "truncated", "extended", "changed"]

KINDS: tuple[Kind, ...] = ("swapped", "truncated", "extended", "changed")
"""Transcript of another recording; its end is missing; it says more than the recording holds; one word is another."""

_TRIES = 20
_LENGTHS_TRIED = 3
"""Letters by which a changed word may differ in length from the one it replaces."""


class Planter:
    """Spoils transcripts, the same way whenever it is asked for the same utterance.

    Args:
        texts: all transcripts of the corpus, as written.
        unit: what a transcript is cut into; characters are one unit each.
        seed: of the choices.
    """

    def __init__(self, texts: Sequence[str], unit: Unit, seed: int = 0) -> None:
        self._texts = [text for text in texts if text.strip()]
        self._unit: Unit = unit
        self._joint = "" if unit == "character" else " "
        self._seed = seed
        # By frequency: a wrong word is more often a common one.
        counts = Counter(bare for text in self._texts for word in split_units(text, unit) if (bare := _bare(word)[1]))
        self._words, self._weights = list(counts), list(counts.values())

    def spoil(self, id: str, text: str) -> dict[Kind, str]:
        """A wrong transcript of each kind; kinds that this text is too short for are missing.

        >>> planter = Planter(["one two three", "four five six", "seven eight"], "word")
        >>> sorted(planter.spoil("a", "one two three")), sorted(planter.spoil("a", "one"))
        (['changed', 'extended', 'swapped', 'truncated'], ['changed', 'extended', 'swapped'])
        """
        chance = random.Random(zlib.crc32(f"{self._seed}:{id}".encode()))
        units = split_units(text, self._unit)
        ways: dict[Kind, Callable[[], str | None]] = {
            "swapped": lambda: self.other(text, chance),
            "truncated": lambda: self._truncated(units, chance),
            "extended": lambda: self._extended(text, units, chance),
            "changed": lambda: self._changed(units, chance),
        }
        spoiled = {kind: way() for kind, way in ways.items()}
        return {kind: wrong for kind, wrong in spoiled.items() if wrong is not None and wrong != text}

    def other(self, text: str, chance: random.Random) -> str | None:
        """Another transcript of the corpus; None where there is none."""
        for _ in range(_TRIES if self._texts else 0):
            found = chance.choice(self._texts)
            if found != text:
                return found
        return None

    def _truncated(self, units: Sequence[str], chance: random.Random) -> str | None:
        if len(units) < 2:
            return None
        kept = len(units) - chance.randint(1, max(1, len(units) // 2))
        return self._ending_like(units, units[:kept])

    def _extended(self, text: str, units: Sequence[str], chance: random.Random) -> str | None:
        other = self.other(text, chance)
        if other is None or not units:
            return None
        more = split_units(other, self._unit)
        added = more[-chance.randint(1, max(1, len(units) // 2)) :]
        # The final mark stands at the new end.
        before, bare, _ = _bare(units[-1])
        return self._ending_like(units, [*units[:-1], *filter(None, [before + bare]), *added])

    def _changed(self, units: Sequence[str], chance: random.Random) -> str | None:
        places = [place for place, word in enumerate(units) if _bare(word)[1]]
        if not places:
            return None
        place = chance.choice(places)
        before, old, after = _bare(units[place])
        for _ in range(_TRIES):
            (word,) = chance.choices(self._words, self._weights)
            if abs(len(word) - len(old)) <= _LENGTHS_TRIED and word.casefold() != old.casefold():
                # In the other's form, so that neither a mark nor a capital gives it away.
                word = word if old.isupper() or not old[0].isupper() else word[0].upper() + word[1:]
                return self._joint.join([*units[:place], before + word + after, *units[place + 1 :]])
        return None

    def _ending_like(self, units: Sequence[str], changed: Sequence[str]) -> str:
        """The changed units with the original's final mark, which would give the change away by its form."""
        text = self._joint.join(changed).rstrip()
        mark = units[-1][-1] if not units[-1][-1].isalnum() else ""
        return text if not mark or text.endswith(mark) else text + mark


def _bare(word: str) -> tuple[str, str, str]:
    """Marks before a word, the word, marks after it; a word of nothing else is all marks before.

    >>> _bare("«l'été!»")
    ('«', "l'été", '!»')
    """
    letters = [place for place, character in enumerate(word) if character.isalnum()]
    if not letters:
        return word, "", ""
    return word[: letters[0]], word[letters[0] : letters[-1] + 1], word[letters[-1] + 1 :]
