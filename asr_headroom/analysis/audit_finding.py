"""What an audit says: one finding, and the few words that findings share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "Severity", "Unit", "listed", "percent", "percents", "signed"]

Severity = Literal["severe", "warning", "note"]
Unit = Literal["points", "utterances", "times"]

_MAX_LISTED = 4


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One trap that some files show.

    Attributes:
        trap: its id in the list of traps, such as ``A.1``.
        title: the trap in a few words.
        severity: ``severe`` where a rate or a difference means something else than it says, ``warning`` where what is
            concluded from it would be wrong, ``note`` for what a reader has to know.
        files: that show it, as they were given.
        size: how much it is, in ``unit``; of the file or pair that shows it most.
        unit: ``points`` of an error rate (hundredths), ``utterances``, or ``times``.
        message: what was found, in sentences.
        command: that shows it.
        sizes: of each of ``files``.
        total: utterances of the file that shows it most; 0 where that says nothing.
        examples: outputs that show it.
    """

    trap: str
    title: str
    severity: Severity
    files: tuple[str, ...]
    size: float
    unit: Unit
    message: str
    command: str
    sizes: tuple[float, ...] = ()
    total: int = 0
    examples: tuple[str, ...] = ()

    @property
    def weight(self) -> float:
        """How much of a test it touches, so that points and utterances can be ranked together."""
        if self.unit == "points":
            return self.size / 100
        return self.size / self.total if self.unit == "utterances" and self.total else 0.0


def percent(rate: float, digits: int = 2) -> str:
    """A rate in per cent.

    >>> percent(0.13855)
    '13.86 %'
    """
    return f"{100 * rate:.{digits}f} %"


def percents(one: float, other: float) -> tuple[str, str]:
    """Two rates with as many digits as it takes to tell them apart, up to six.

    >>> percents(0.05995, 0.05999), percents(0.1, 0.2)
    (('5.995 %', '5.999 %'), ('10.00 %', '20.00 %'))
    """
    digits = next((n for n in range(2, 6) if percent(one, n) != percent(other, n)), 6)
    return percent(one, digits), percent(other, digits)


def signed(difference: float) -> str:
    """A difference of rates in points, with its sign.

    >>> signed(-0.0176)
    '−1.76'
    """
    return f"{100 * difference:+.2f}".replace("-", "−")


def listed(items: Sequence[str], most: int = _MAX_LISTED) -> str:
    """The first items, and how many more there are.

    >>> listed(["a", "b", "c"], 2)
    'a; b; and 1 more'
    """
    more = [f"and {len(items) - most} more"] if len(items) > most else []
    return "; ".join([*items[:most], *more])
