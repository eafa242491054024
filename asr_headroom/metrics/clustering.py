"""What is resampled as a whole, and whom an interval then speaks of.

Words of one utterance, utterances of one speaker and readings of one sentence are not independent. An interval
that keeps such clusters together covers new clusters of that kind: new sentences by the same speakers, or new
speakers. Where readings of sentences cross with speakers, both are clusters at once.

Start with :func:`choose_clusters`; :func:`label_clusters` takes any other label, such as sessions.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from asr_headroom.errors import ShapeError, UsageError

__all__ = [
    "CLUSTER_CHOICES",
    "MIN_CLUSTERS",
    "MIN_CLUSTERS_TO_JUDGE",
    "ClusterBy",
    "Clustering",
    "choose_clusters",
    "cross_clusters",
    "label_clusters",
]

ClusterBy = Literal["auto", "speaker", "sentence", "sentence+speaker", "utterance"]
CLUSTER_CHOICES: tuple[ClusterBy, ...] = ("auto", "speaker", "sentence", "sentence+speaker", "utterance")

MIN_CLUSTERS = 15
"""With fewer clusters a bootstrap over them is too narrow to be believed (Cameron et al., 2008)."""

MIN_CLUSTERS_TO_JUDGE = 6
"""With fewer, no verdict: even if all agreed, a sign test could not reach p < .05 (2 / 2^5 = .0625)."""


@dataclass(frozen=True, kw_only=True)
class Clustering:
    """What is resampled as a whole.

    Attributes:
        labels: [utterances] integer label of each utterance's cluster, 0 … num_clusters - 1.
        by: "speaker", "sentence", "utterance" or the name of another label; both names where two cross.
        population: whom the interval speaks of, as words for the page.
        crossed: the second clustering, of the same utterances, where two cross.
    """

    labels: np.ndarray
    by: str
    population: str
    crossed: Clustering | None = None

    @property
    def ways(self) -> tuple[Clustering, ...]:
        """The one clustering, or the two that cross."""
        return (self,) if self.crossed is None else (self, self.crossed)

    @property
    def num_clusters(self) -> int:
        """Number of distinct clusters; where two clusterings cross, of the one with fewer."""
        return min(int(way.labels.max()) + 1 if way.labels.size else 0 for way in self.ways)


def choose_clusters(speakers: Sequence[str | None], sentences: Sequence[str], by: ClusterBy = "auto") -> Clustering:
    """The clusters to resample, from what is known of each utterance.

    ``auto`` takes speakers when all are known and there are at least :data:`MIN_CLUSTERS`, crossed with sentences
    where as many sentences are read by several speakers; else sentences when some occur twice, else single utterances.

    Args:
        speakers: [utterances] speaker ids; None where unknown.
        sentences: [utterances] normalised references.
        by: what to resample.

    Raises:
        UsageError: clusters by speaker were asked for and a speaker is unknown, or ``by`` is not a choice.
        ShapeError: the two sequences differ in length.
    """
    if len(speakers) != len(sentences):
        raise ShapeError(f"{len(speakers)} speakers for {len(sentences)} sentences; give one of each per utterance")
    if by not in CLUSTER_CHOICES:
        raise UsageError(f"cannot cluster by '{by}'; choose from {', '.join(CLUSTER_CHOICES)}")
    if "speaker" in by and None in speakers:
        missing = sum(speaker is None for speaker in speakers)
        raise UsageError(
            f"cannot cluster by speaker: {missing} of {len(speakers)} utterances name no speaker; "
            "add speakers to the manifest or use --cluster sentence"
        )
    by = _automatic(speakers, sentences) if by == "auto" else by
    if by == "speaker":
        return label_clusters(speakers, by)
    if by == "sentence+speaker":
        return cross_clusters(label_clusters(sentences, "sentence"), label_clusters(speakers, "speaker"))
    known = None not in speakers
    who = f"the same {len(set(speakers))} speakers" if known else "the same mix of speakers"
    labels = sentences if by == "sentence" else range(len(sentences))
    return label_clusters(labels, by, population=f"new {by}s by {who}")


def label_clusters(labels: Sequence[Hashable], by: str, *, population: str | None = None) -> Clustering:
    """Clusters by any label: sessions, meetings, regions.

    Args:
        labels: [utterances] equal where utterances belong together.
        by: name of the label, in the singular.
        population: whom an interval speaks of; None takes "new <by>s".

    >>> label_clusters(["monday", "monday", "friday"], "session").population
    'new sessions (only 2 here: too few to trust the interval)'
    """
    index: dict[Hashable, int] = {}
    numbers = np.array([index.setdefault(label, len(index)) for label in labels], dtype=np.int64)
    if population is None:
        few = "" if len(index) >= MIN_CLUSTERS else f" (only {len(index)} here: too few to trust the interval)"
        population = f"new {by}s{few}"
    return Clustering(labels=numbers, by=by, population=population)


def cross_clusters(first: Clustering, second: Clustering) -> Clustering:
    """Two clusterings of the same utterances at once, as where speakers read sentences from one list.

    Raises:
        ShapeError: the two label different numbers of utterances.
    """
    if len(first.labels) != len(second.labels):
        raise ShapeError(
            f"{len(first.labels)} utterances by {first.by} but {len(second.labels)} by {second.by}; "
            "cross clusterings of the same utterances"
        )
    return Clustering(
        labels=first.labels,
        by=f"{first.by}+{second.by}",
        population=f"{first.population} by {second.population}",
        crossed=second,
    )


def _automatic(speakers: Sequence[str | None], sentences: Sequence[str]) -> ClusterBy:
    num_sentences = len(set(sentences))
    if None in speakers or len(set(speakers)) < MIN_CLUSTERS:
        return "sentence" if num_sentences < len(sentences) else "utterance"
    # A sentence that only one speaker repeats lies within that speaker; it adds no second source of chance.
    shared = len(set(zip(sentences, speakers, strict=True))) > num_sentences
    return "sentence+speaker" if shared and num_sentences >= MIN_CLUSTERS else "speaker"
