"""What the page says beyond the tables: why systems differ, every pair of many, and references that may be wrong.

All of it is derived from the tables' results. What takes long is done in full for a few comparisons and in part for
more; the page says what was left out. Start with :func:`find_reasons`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from asr_headroom.analysis.audit import Audit, audit
from asr_headroom.analysis.causes import DifferenceSplit, ErrorSplit, split_difference
from asr_headroom.analysis.explanation import Explanation, explain_results
from asr_headroom.analysis.suspects import Suspects, find_suspects
from asr_headroom.errors import UsageError
from asr_headroom.metrics.significance import ClusterBy
from asr_headroom.report.changed import Listing
from asr_headroom.report.matrix import Matrix, build_matrix
from asr_headroom.report.tables import TestTable

__all__ = ["MAX_AUDITED", "MAX_EXPLAINED", "MAX_SPLIT", "Findings", "find_reasons"]

MAX_EXPLAINED = 3
"""Comparisons on a page up to which each is explained in full: one to two seconds with 500 utterances."""
MAX_SPLIT = 20
"""Comparisons whose causes are looked for: about half a second each."""
MAX_AUDITED = 6
"""Runs that are audited on a page: about half a second each."""
_MIN_SYSTEMS = 3
"""Two systems have one pair, and the verdict is about it."""
_MAX_SYSTEMS = 30
"""435 pairs; beyond that a matrix cannot be read."""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What was found.

    Attributes:
        titles: [comparisons] who against whom, on which test.
        splits: [comparisons] by cause; None beyond :data:`MAX_SPLIT`.
        explanations: [comparisons] in full; None where there are more than :data:`MAX_EXPLAINED`.
        matrices: name of the test and the matrix of its systems, where there are enough of them.
        audit: traps of measurement that the predictions show; None where there are too many systems to look quickly.
        suspects: name of the test and its suspect references, where systems of at least two families are.
    """

    titles: tuple[str, ...]
    splits: tuple[DifferenceSplit | None, ...]
    explanations: tuple[Explanation | None, ...]
    matrices: tuple[tuple[str, Matrix], ...]
    suspects: tuple[tuple[str, Suspects], ...]
    audit: Audit | None

    @property
    def named_splits(self) -> list[tuple[str, DifferenceSplit]]:
        """The splits with their titles."""
        return [(title, split) for title, split in zip(self.titles, self.splits, strict=True) if split is not None]

    @property
    def explained(self) -> list[tuple[str, Explanation]]:
        """The explanations with their titles."""
        return [(title, found) for title, found in zip(self.titles, self.explanations, strict=True) if found]


def find_reasons(tables: Sequence[TestTable], listings: Sequence[Listing], *, cluster: ClusterBy = "auto") -> Findings:
    """Looks for reasons in all comparisons.

    Args:
        tables: of all tests.
        listings: of all comparisons.
        cluster: what intervals resample as a whole.
    """
    in_full = len(listings) <= MAX_EXPLAINED
    explanations = [
        explain_results(listing.pair.base, listing.pair.system, cluster=cluster) if in_full else None
        for listing in listings
    ]
    splits = [found.difference for found in explanations if found] if in_full else _splits(listings, cluster)
    matrices = [
        (table.data, build_matrix([row.results for row in table.rows], normalizer=table.normalizer, cluster=cluster))
        for table in tables
        if _MIN_SYSTEMS <= len(table.rows) <= _MAX_SYSTEMS
    ]
    return Findings(
        titles=tuple(
            f"{listing.pair.system.run.name} against {listing.pair.base.run.name} on {listing.table.data}"
            for listing in listings
        ),
        splits=tuple(splits),
        explanations=tuple(explanations),
        matrices=tuple(matrices),
        suspects=tuple(_suspects(tables)),
        audit=_audit(tables),
    )


def _splits(listings: Sequence[Listing], cluster: ClusterBy) -> list[DifferenceSplit | None]:
    """Causes alone; what several comparisons share a base, they share its split."""
    of_base: dict[int, ErrorSplit] = {}
    splits: list[DifferenceSplit | None] = []
    for listing in listings[:MAX_SPLIT]:
        pair, key = listing.pair, id(listing.table)
        known = of_base.get(key)
        known = known if known is not None and known.name == pair.base.run.name else None
        split = split_difference(pair.base, pair.system, cluster=cluster, base_split=known)
        of_base[key] = split.base
        splits.append(split)
    return splits + [None] * (len(listings) - len(splits))


def _audit(tables: Sequence[TestTable]) -> Audit | None:
    several = len(tables) > 1
    files = {
        f"{row.name} on {table.data}" if several else row.name: row.results for table in tables for row in table.rows
    }
    return audit(files) if len(files) <= MAX_AUDITED else None


def _suspects(tables: Sequence[TestTable]) -> list[tuple[str, Suspects]]:
    found = []
    for table in tables:
        try:
            suspects = find_suspects([row.results for row in table.rows], table.normalizer)
        except UsageError:  # systems of a single family, or of families that nobody named
            continue
        if suspects.places:
            found.append((table.data, suspects))
    return found
