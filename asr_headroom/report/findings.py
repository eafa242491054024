"""What the page says beyond the tables: the causes of each difference, and every pair of many systems.

All of it is derived from the tables' results; what would take too long for many systems is left out and said so.
Start with :func:`find_reasons`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from asr_headroom.analysis.causes import DifferenceSplit, split_difference
from asr_headroom.metrics.significance import ClusterBy
from asr_headroom.report.changed import Listing
from asr_headroom.report.matrix import Matrix, build_matrix
from asr_headroom.report.tables import TestTable

__all__ = ["Findings", "find_reasons"]

_MIN_SYSTEMS = 3
"""Two systems have one pair, and the verdict is about it."""
_MAX_SYSTEMS = 30
"""435 pairs; beyond that a matrix cannot be read."""
_MAX_SPLITS = 20
"""Comparisons whose causes are looked for: each takes about half a second with 500 utterances."""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What was found.

    Attributes:
        splits: [comparisons] by cause; None beyond the limit.
        matrices: name of the test and the matrix of its systems, where there are enough of them.
    """

    splits: tuple[DifferenceSplit | None, ...]
    matrices: tuple[tuple[str, Matrix], ...]

    def named_splits(self, listings: Sequence[Listing]) -> list[tuple[str, DifferenceSplit]]:
        """The splits with a title each."""
        return [
            (f"{listing.pair.system.run.name} against {listing.pair.base.run.name} on {listing.table.data}", split)
            for listing, split in zip(listings, self.splits, strict=True)
            if split is not None
        ]


def find_reasons(tables: Sequence[TestTable], listings: Sequence[Listing], *, cluster: ClusterBy = "auto") -> Findings:
    """Looks for reasons in all comparisons.

    Args:
        tables: of all tests.
        listings: of all comparisons.
        cluster: what intervals resample as a whole.
    """
    splits = [
        split_difference(listing.pair.base, listing.pair.system, cluster=cluster) if index < _MAX_SPLITS else None
        for index, listing in enumerate(listings)
    ]
    matrices = [
        (table.data, build_matrix([row.results for row in table.rows], normalizer=table.normalizer, cluster=cluster))
        for table in tables
        if _MIN_SYSTEMS <= len(table.rows) <= _MAX_SYSTEMS
    ]
    return Findings(splits=tuple(splits), matrices=tuple(matrices))
