"""What speaks for and against a transcript, as numbers: from scores of a model, hypotheses, and length.

A transcript is never judged by its loss alone: a mumbled recording makes every text unlikely. It is compared with
what the model itself hears there, with other transcripts of the corpus under the same audio, and with the same
speaker's other transcripts. See :mod:`asr_headroom.analysis.label_doctor` for what follows from it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import Indel, Levenshtein

from asr_headroom.analysis.label_doctor_planting import Kind
from asr_headroom.text.normalize import Normalizer
from asr_headroom.text.units import split_units

__all__ = ["Clip", "Judged", "ScoredText", "TextPool", "evidence_of", "rate_of", "robust_z"]

_FLOOR = -12.0
"""Natural log-probability below which a token counts no further: a name outside the vocabulary is no proof."""
_MIN_SPEAKER_CLIPS = 5
"""Of a speaker, for his own median to be taken off."""
_CENTRED = ("loss", "gap", "worst", "second", "end", "similarity", "errors", "rate", "told")


@dataclass(frozen=True, kw_only=True)
class Clip:
    """An utterance as the doctor sees it: no audio, only facts.

    Attributes:
        text: transcript as written.
        duration: seconds.
    """

    id: str
    text: str
    duration: float
    language: str | None = None
    speaker: str | None = None


@dataclass(frozen=True, kw_only=True)
class ScoredText:
    """A text under some audio.

    Attributes:
        text: as scored.
        token_log_probs: natural logarithm, the end token's last where the family has one; a single number for the
            whole where its scores are not token by token.
        num_tokens: tokens, the end token not counted.
    """

    text: str
    token_log_probs: tuple[float, ...]
    num_tokens: int

    @property
    def total(self) -> float:
        """Natural log-probability of the whole, no token worse than a floor."""
        return (
            sum(max(value, _FLOOR) for value in self.token_log_probs) if self.is_tokenwise else self.token_log_probs[0]
        )

    @property
    def nats(self) -> float:
        """Mean loss per token, the end token counted."""
        return -self.total / (self.num_tokens + 1)

    @property
    def is_tokenwise(self) -> bool:
        """Whether the scores are token by token."""
        return len(self.token_log_probs) != 1 or self.num_tokens == 0


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What one judge says of one clip: a hypothesis, and scores if it is a model that can give them.

    Attributes:
        heard: the judge's own hypothesis.
        heard_scored: its score; None where the judge gives hypotheses only.
        given: the transcript.
        planted: wrong transcripts made from it.
        rivals: other transcripts of the corpus that resemble the hypothesis most.
        strangers: other transcripts drawn at random.
        elsewhere: the transcript (``given``) and the wrong ones made from it under another clip's audio: how likely
            they are without having been said.
        given_is_near: the given transcript would itself be among the rivals, were it another clip's.
    """

    heard: str
    heard_scored: ScoredText | None = None
    given: ScoredText | None = None
    planted: Mapping[Kind, ScoredText] = field(default_factory=dict)
    rivals: Sequence[ScoredText] = ()
    strangers: Sequence[ScoredText] = ()
    elsewhere: Mapping[str, ScoredText] = field(default_factory=dict)
    given_is_near: bool = False


class TextPool:
    """The distinct normalised transcripts of a corpus, to ask which of them resembles something heard.

    Args:
        texts: as written.
        normalizer: applied before anything is compared.
        limit: distinct transcripts kept, evenly spaced over the corpus, as every hypothesis is compared with each.
    """

    def __init__(self, texts: Sequence[str], normalizer: Normalizer, *, limit: int = 5_000) -> None:
        self.normalizer = normalizer
        written: dict[str, str] = {}
        for text in texts:
            if norm := normalizer(text):
                written.setdefault(norm, text)
        kept = list(written)[:: max(1, math.ceil(len(written) / limit))]
        self._kept, self._known = kept, frozenset(kept)
        self._written = written

    def __contains__(self, text: str) -> bool:
        return self.normalizer(text) in self._known

    def closest(self, heard: str, count: int, *, without: Sequence[str] = ()) -> list[tuple[str, float]]:
        """The transcripts nearest to a hypothesis, as written, with their similarity in [0, 1]; best first.

        Args:
            heard: hypothesis, as written.
            count: at most.
            without: transcripts that are left out, as written.
        """
        out = {self.normalizer(text) for text in without}
        found = process.extract(
            self.normalizer(heard), self._kept, scorer=Indel.normalized_similarity, limit=count + len(out)
        )
        return [(self._written[text], score) for text, score, _ in found if text not in out][:count]


def rate_of(text: str, duration: float) -> float:
    """Natural logarithm of letters and digits per second; of half a letter where there is none."""
    return math.log(max(0.5, sum(map(str.isalnum, text))) / max(duration, 0.05))


def robust_z(values: np.ndarray) -> np.ndarray:
    """Distances from the median in robust standard deviations (1.4826 times the median absolute deviation).

    >>> robust_z(np.array([1.0, 2.0, 3.0, 4.0, 100.0])).round(2).tolist()
    [-1.35, -0.67, 0.0, 0.67, 65.43]
    """
    centre = np.median(values)
    spread = 1.4826 * np.median(np.abs(values - centre))
    if spread <= 0:
        spread = float(np.std(values)) or 1.0
    return (values - centre) / spread


def evidence_of(
    clips: Sequence[Clip],
    judges: Sequence[Mapping[str, Judged]],
    spoiled: Mapping[str, Mapping[Kind, str]],
    pool: TextPool,
) -> tuple[list[str], dict[Kind | None, np.ndarray]]:
    """Evidence on each transcript and on each wrong one made from it.

    Args:
        clips: of the corpus.
        judges: what each judge says, by id of the clip; every judge has heard every clip.
        spoiled: wrong transcripts by id and kind.
        pool: of the corpus' transcripts.

    Returns:
        Names of the columns, and for the transcripts as given (None) and for each kind a matrix [clips, columns],
        NaN where a kind could not be made of a clip. Columns that say the same of all clips are left out.
    """
    variants: list[Kind | None] = [None, *sorted({kind for wrong in spoiled.values() for kind in wrong})]
    rows: dict[Kind | None, list[dict[str, float]]] = {variant: [] for variant in variants}
    for clip in clips:
        heard = [judge[clip.id] for judge in judges]
        closest = [_two_closest(judged, clip, pool) for judged in heard]
        for variant in variants:
            text = clip.text if variant is None else spoiled.get(clip.id, {}).get(variant)
            rows[variant].append({} if text is None else _row(clip, text, variant, heard, closest, pool.normalizer))
    names = sorted({name for row in rows[None] for name in row})
    matrices = {
        variant: np.array([[row.get(name, np.nan) for name in names] for row in found], dtype=np.float64)
        for variant, found in rows.items()
    }
    _fill_gaps(matrices)
    _take_off_speakers(matrices, names, [clip.speaker for clip in clips])
    kept = [
        column
        for column in range(len(names))
        if np.isfinite(matrices[None][:, column]).all() and np.ptp(matrices[None][:, column]) > 0
    ]
    return [names[column] for column in kept], {variant: matrix[:, kept] for variant, matrix in matrices.items()}


def _two_closest(judged: Judged, clip: Clip, pool: TextPool) -> tuple[float, float]:
    """Similarity of the hypothesis to the nearest transcript of all, and to the nearest that is not the clip's own."""
    others = pool.closest(judged.heard, 1, without=[clip.text])
    other = others[0][1] if others else 0.0
    if clip.text not in pool:
        return other, other
    norm = pool.normalizer
    return max(other, Indel.normalized_similarity(norm(judged.heard), norm(clip.text))), other


def _row(
    clip: Clip,
    text: str,
    variant: Kind | None,
    judges: Sequence[Judged],
    closest: Sequence[tuple[float, float]],
    normalizer: Normalizer,
) -> dict[str, float]:
    unit = normalizer.unit
    reference = split_units(normalizer(text), unit)
    hypotheses = [split_units(normalizer(judged.heard), unit) for judged in judges]
    columns = [
        _heard_columns(normalizer(text), reference, hypothesis, normalizer(judged.heard), near[variant != "swapped"])
        | _scored_columns(judged, variant)
        for judged, hypothesis, near in zip(judges, hypotheses, closest, strict=True)
    ]
    merged = {
        name: float(np.mean([column[name] for column in columns if name in column]))
        for name in sorted({name for column in columns for name in column})
    }
    merged |= {"rate": rate_of(text, clip.duration), "length": math.log(1 + len(reference))}
    if len(judges) > 1:
        merged["unheard"] = _unheard(reference, hypotheses)
    return merged


def _heard_columns(
    text: str, reference: Sequence[str], hypothesis: Sequence[str], heard: str, nearest_other: float
) -> dict[str, float]:
    similarity = Indel.normalized_similarity(heard, text)
    editops = Levenshtein.opcodes(reference, hypothesis)
    # A replacement of unequal length is a deletion or insertion too; the alignment hides where the surplus lies.
    last = editops[-1] if len(editops) and editops[-1].tag != "equal" else None
    tail = (last.dest_end - last.dest_start) - (last.src_end - last.src_start) if last else 0
    distance = Levenshtein.distance(reference, hypothesis)
    return {
        "similarity": similarity,
        "errors": min(2.0, distance / max(1, len(reference))),
        "closest": similarity - nearest_other,
        "tail_heard": math.log1p(max(0, tail)),
        "tail_missing": math.log1p(max(0, -tail)),
        "more_heard": math.log((1 + len(heard)) / (1 + len(text))),
    }


def _scored_columns(judged: Judged, variant: Kind | None) -> dict[str, float]:
    own = judged.given if variant is None else judged.planted.get(variant)
    if own is None or judged.heard_scored is None or judged.given is None:
        return {}
    rivals = list(judged.rivals)
    if variant == "swapped" and judged.given_is_near:
        rivals.append(judged.given)
    strangers = [other.nats for other in judged.strangers if other.text != own.text]
    columns = {
        "loss": own.nats,
        "gap": (judged.heard_scored.total - own.total) / (1 + own.num_tokens),
        "rival": math.asinh(own.total - max((rival.total for rival in rivals), default=own.total)),
        "stranger": (float(np.mean(strangers)) if strangers else own.nats) - own.nats,
    }
    if own.is_tokenwise and judged.heard_scored.is_tokenwise:
        *tokens, end = (max(value, _FLOOR) for value in own.token_log_probs)
        lowest = [*sorted(tokens)[:2], 0.0, 0.0]
        columns |= {"end": end, "worst": lowest[0], "second": lowest[1]}
        columns |= _told(own, judged.elsewhere.get(variant or "given"))
    return columns


def _told(own: ScoredText, elsewhere: ScoredText | None) -> dict[str, float]:
    """What the audio adds to the likelihood of each token: near 0, or below, where something else was said."""
    if elsewhere is None or len(own.token_log_probs) < 2:
        return {}
    pairs = zip(own.token_log_probs[:-1], elsewhere.token_log_probs[:-1], strict=True)
    told = sorted(max(here, _FLOOR) - max(there, _FLOOR) for here, there in pairs)
    return {"told": sum(told) / len(told), "told_least": told[0], "told_second": told[min(1, len(told) - 1)]}


def _unheard(reference: Sequence[str], hypotheses: Sequence[Sequence[str]]) -> float:
    """Share of the transcript's units that none of the judges has heard in their place."""
    heard: set[int] = set()
    for hypothesis in hypotheses:
        for step in Levenshtein.opcodes(reference, hypothesis):
            if step.tag == "equal":
                heard.update(range(step.src_start, step.src_end))
    return 1 - len(heard) / len(reference) if reference else 0.0


def _fill_gaps(matrices: Mapping[Kind | None, np.ndarray]) -> None:
    """Puts a column's median where a clip has no value in it (nothing shared its batch, say), in place.

    Rows without any value stay: there is no such transcript.
    """
    given = matrices[None]
    known = np.isfinite(given).any(axis=0)
    medians = np.full(given.shape[1], np.nan)
    medians[known] = np.nanmedian(given[:, known], axis=0)
    for matrix in matrices.values():
        rows, columns = np.nonzero(~np.isfinite(matrix) & np.isfinite(matrix).any(axis=1)[:, None])
        matrix[rows, columns] = medians[columns]


def _take_off_speakers(
    matrices: Mapping[Kind | None, np.ndarray], names: Sequence[str], speakers: Sequence[str | None]
) -> None:
    """Takes each speaker's median over the transcripts as given off his rows, in place.

    Most of a speaker's transcripts are right, so the median is that of right ones; a speaker who is hard to understand
    then is not suspect in all he says.
    """
    columns = [column for column, name in enumerate(names) if name in _CENTRED]
    groups: dict[str, list[int]] = {}
    for row, speaker in enumerate(speakers):
        if speaker is not None:
            groups.setdefault(speaker, []).append(row)
    given = matrices[None]
    everyone = np.median(given[:, columns], axis=0)
    for rows in groups.values():
        if len(rows) >= _MIN_SPEAKER_CLIPS:
            shift = np.median(given[np.ix_(rows, columns)], axis=0) - everyone
            for matrix in matrices.values():
                matrix[np.ix_(rows, columns)] -= shift
