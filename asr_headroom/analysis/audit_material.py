"""What an audit looks at: prediction files, the tests they belong to, and which system was made from which.

Files of one test are brought into one order of utterances. By ids where all files state them; else by what was said,
normalised, and its occurrence: people's files name utterances differently, or not at all.

Start with :func:`gather`.
"""

from __future__ import annotations

import functools
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any, NamedTuple

import numpy as np

from asr_headroom.analysis.audit_claims import Claim, Origin, claims_of, recompute
from asr_headroom.analysis.audit_finding import Finding, Severity, Unit
from asr_headroom.analysis.audit_lineage import find_bases
from asr_headroom.analysis.causes import ErrorSplit, split_errors, start_profile
from asr_headroom.analysis.outputs import OutputFlags, describe_output
from asr_headroom.analysis.scoring import own_normalizer
from asr_headroom.errors import ResultsError, UsageError
from asr_headroom.metrics.error_rate import ErrorCounts, UtteranceCounts
from asr_headroom.results.schema import Prediction
from asr_headroom.results.store import Results, pair_results
from asr_headroom.text.normalize import Normalizer, normalizer_for_language

__all__ = ["AuditedFile", "AuditedTest", "Material", "Pair", "finding", "gather", "pair_command"]

_Key = tuple[str, str | int]
_EXCERPT = 60
_MAX_EXAMPLES = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class AuditedFile:
    """One file of predictions, and what is asked of it more than once.

    Attributes:
        path: as it was given.
        label: the shortest name that tells it from the others.
        results: its predictions, in the order of the test.
        given: the normalizer that was asked for; None lets the file decide.
    """

    path: str
    label: str
    results: Results
    given: Normalizer | None = None
    _counted: dict[str, list[UtteranceCounts]] = field(default_factory=dict)

    @property
    def language(self) -> str | None:
        """BCP-47 tag of what was spoken."""
        return self.results.run.language

    @property
    def predictions(self) -> Sequence[Prediction]:
        """In the order of the test."""
        return self.results.predictions

    @property
    def head(self) -> Mapping[str, Any]:
        """What the file states beside its rows."""
        stated = self.results.run.config.get("file")
        return stated if isinstance(stated, dict) else {}

    @functools.cached_property
    def claims(self) -> tuple[Claim, ...]:
        """The rates that the file states."""
        return claims_of(self.head)

    @functools.cached_property
    def origins(self) -> tuple[Origin, ...]:
        """How each of the stated rates comes about."""
        return recompute(self.claims, self.counts, self.language)

    @property
    def claimed(self) -> Normalizer | None:
        """The profile that gives a stated rate; None where none does, or nothing is stated."""
        return next((origin.normalizer for origin in self.origins if origin.normalizer is not None), None)

    @property
    def own_profile(self) -> Normalizer:
        """The one that the run was scored with when it was made, else the default of its language."""
        return own_normalizer(self.results)

    @functools.cached_property
    def normalizer(self) -> Normalizer:
        """In which its errors are counted: the one asked for, its own, that of its stated rates, else the default."""
        if self.given is not None:
            return self.given
        if self.results.run.normalizer.get("id") is not None:
            return self.own_profile
        return self.claimed or normalizer_for_language(self.language)

    @functools.cached_property
    def is_profile_known(self) -> bool:
        """Whether somebody scored the file under :attr:`normalizer`, or asked for it."""
        return self.given is not None or bool(self.results.run.normalizer.get("id")) or self.claimed is not None

    @functools.cached_property
    def split(self) -> ErrorSplit:
        """Its error rate by cause, under its profile; where none is known, under one in which formats show."""
        profile = self.normalizer if self.is_profile_known else start_profile(self.language)
        return split_errors(self.results, profile)

    @functools.cached_property
    def flags(self) -> list[OutputFlags]:
        """What is odd about each output."""
        return [describe_output(p.reference, p.hypothesis, p.language or self.language) for p in self.predictions]

    @functools.cached_property
    def references(self) -> list[str]:
        """[utterances] normalised."""
        return [self.normalizer(prediction.reference) for prediction in self.predictions]

    def counts(self, normalizer: Normalizer) -> list[UtteranceCounts]:
        """Counts per utterance under a normaliser."""
        if normalizer.hash not in self._counted:
            self._counted[normalizer.hash] = self.results.counts(normalizer)
        return self._counted[normalizer.hash]

    def events(self, normalizer: Normalizer | None = None) -> tuple[np.ndarray, np.ndarray]:
        """[utterances] errors and [utterances] reference units."""
        normalizer = normalizer or self.normalizer
        counts: list[ErrorCounts] = [count.of(normalizer.unit) for count in self.counts(normalizer)]
        return np.array([c.errors for c in counts]), np.array([c.reference_length for c in counts])

    @property
    def rate(self) -> float:
        """Its error rate; 0 where no reference holds a unit."""
        errors, lengths = self.events()
        return float(errors.sum() / lengths.sum()) if lengths.sum() else 0.0


class Pair(NamedTuple):
    """A system and the one that it was made from."""

    base: AuditedFile
    tuned: AuditedFile


@dataclass(frozen=True, kw_only=True, eq=False)
class AuditedTest:
    """Files on the same utterances."""

    files: tuple[AuditedFile, ...]
    pairs: tuple[Pair, ...]

    @property
    def language(self) -> str | None:
        """Of the first file that knows it."""
        return next((file.language for file in self.files if file.language), None)

    @property
    def num_utterances(self) -> int:
        """Of each file."""
        return len(self.files[0].predictions)

    @property
    def name(self) -> str:
        """For a sentence: ``500 utterances in fr``."""
        return f"{self.num_utterances} utterances" + (f" in {self.language}" if self.language else "")

    @functools.cached_property
    def sentences(self) -> list[str]:
        """[utterances] what was said, normalised."""
        normalize = normalizer_for_language(self.language)
        return [normalize(prediction.reference) for prediction in self.files[0].predictions]


@dataclass(frozen=True, kw_only=True, eq=False)
class Material:
    """Everything that is audited.

    Attributes:
        files: in the order given.
        tests: files grouped by their utterances.
        by_id: utterances were told apart by their ids, not by what was said.
    """

    files: tuple[AuditedFile, ...]
    tests: tuple[AuditedTest, ...]
    by_id: bool

    @property
    def pairs(self) -> Iterator[Pair]:
        """All systems with the one each was made from."""
        for test in self.tests:
            yield from test.pairs

    def keys(self, file: AuditedFile) -> list[_Key]:
        """[utterances] what tells the utterances of a file apart."""
        return _keys(file.results, self.by_id)


def gather(files: Mapping[str, Results], *, normalizer: Normalizer | None = None, base: str | None = None) -> Material:
    """Brings files into order: which belong to one test, and which was made from which.

    Args:
        files: results by the path that they were read from.
        normalizer: in which errors are counted; None lets each file decide.
        base: path of the file that all others on its test claim to improve upon; None looks for pairs by parent, model
            and name.

    Raises:
        ResultsError: there is no file, or one holds no predictions.
        UsageError: ``base`` is none of the files.
    """
    if not files:
        raise ResultsError("no files to audit; give files of predictions, or run directories")
    if base is not None and base not in files:
        raise UsageError(f"--base {base} is none of the files; give one of: {', '.join(files)}")
    for path, results in files.items():
        if not results.predictions:
            raise ResultsError(f"{path}: holds no predictions; there is nothing to audit")
    by_id = _can_use_ids(list(files.values()))
    labels = _labels(list(files))
    groups: dict[frozenset[_Key], list[str]] = {}
    for path, results in files.items():
        groups.setdefault(frozenset(_keys(results, by_id)), []).append(path)
    audited: dict[str, AuditedFile] = {}
    tests = []
    for paths in groups.values():
        for path, results in zip(paths, _in_one_order([files[path] for path in paths], by_id), strict=True):
            audited[path] = AuditedFile(path=path, label=labels[path], results=results, given=normalizer)
        group = [audited[path] for path in paths]
        tests.append(AuditedTest(files=tuple(group), pairs=tuple(_pairs(group, base))))
    return Material(files=tuple(audited[path] for path in files), tests=tuple(tests), by_id=by_id)


def finding(
    trap: str,
    title: str,
    severity: Severity,
    sizes: Mapping[AuditedFile, float],
    *,
    message: str,
    command: str,
    unit: Unit = "points",
    examples: Iterable[Prediction] = (),
    show_ends: bool = False,
) -> Finding:
    """A finding about files, each with its own size: fractions of a rate where the unit is points.

    Of long examples the beginnings are kept, or the ends with ``show_ends``.
    """
    scale = 100 if unit == "points" else 1
    worst = max(sizes, key=lambda file: sizes[file])
    return Finding(
        trap=trap,
        title=title,
        severity=severity,
        files=tuple(file.path for file in sizes),
        size=float(scale * sizes[worst]),
        unit=unit,
        message=message,
        command=command,
        sizes=tuple(float(scale * size) for size in sizes.values()),
        total=len(worst.predictions),
        examples=tuple(_excerpt(prediction, show_ends) for prediction in list(examples)[:_MAX_EXAMPLES]),
    )


def pair_command(verb: str, one: AuditedFile, other: AuditedFile, options: str = "", *, intersect: bool = False) -> str:
    """A command that sets two files side by side; where that refuses to pair them, an audit of the two, which does."""
    paths = shlex.join([one.path, other.path])
    try:
        pair_results(one.results, other.results, intersect=intersect)
    except ResultsError:
        return f"asr-headroom audit {paths}"
    return f"asr-headroom {verb} {paths} {options}{' --intersect' if intersect else ''}".strip().replace("  ", " ")


def _pairs(group: Sequence[AuditedFile], base: str | None) -> Iterator[Pair]:
    by_path = {file.path: file for file in group}
    if base is None:
        bases = find_bases({path: file.results for path, file in by_path.items()})
    else:
        bases = {path: base for path in by_path if base in by_path and path != base}
    for path, found in bases.items():
        yield Pair(by_path[found], by_path[path])


def _excerpt(prediction: Prediction, show_end: bool) -> str:
    heard, said = (_shortened(text.strip(), show_end) for text in (prediction.hypothesis, prediction.reference))
    return f"{heard!r} for {said!r}"


def _shortened(text: str, show_end: bool) -> str:
    if len(text) <= _EXCERPT:
        return text
    return "…" + text[1 - _EXCERPT :] if show_end else text[: _EXCERPT - 1] + "…"


# ---------------------------------------------------------------------- which utterances


def _in_one_order(group: Sequence[Results], by_id: bool) -> list[Results]:
    """Predictions sorted by id where all files of a test have the same ones, as a comparison sorts them."""
    ids = {frozenset(_ids(results)) for results in group}
    ordered = []
    for results in group:
        keys = [p.id for p in results.predictions] if len(ids) == 1 else _keys(results, by_id)
        order = sorted(range(len(keys)), key=keys.__getitem__)
        ordered.append(replace(results, predictions=[results.predictions[index] for index in order]))
    return ordered


@functools.lru_cache(maxsize=200_000)
def _said(reference: str, language: str | None) -> str:
    return normalizer_for_language(language)(reference)


def _keys(results: Results, by_id: bool) -> list[_Key]:
    said = [_said(p.reference, results.run.language) for p in results.predictions]
    if by_id:
        return [(p.id, text) for p, text in zip(results.predictions, said, strict=True)]
    times: Counter[str] = Counter()
    numbers = [0] * len(said)
    # Ids, where there are some, say which reading of a sentence is which.
    for index in sorted(range(len(said)), key=lambda index: _natural(results.predictions[index].id)):
        times[said[index]] += 1
        numbers[index] = times[said[index]]
    return list(zip(said, numbers, strict=True))


def _natural(id_: str) -> list[str | int]:
    return [f"{int(part):012}" if part.isdecimal() else part for part in re.split(r"(\d+)", id_)]


def _can_use_ids(files: Sequence[Results]) -> bool:
    if any(results.run.data.get("ids") == "content" for results in files):
        return False
    ids, said = ([frozenset(key(results)) for results in files] for key in (_ids, _sentences))
    # Two files that say the same under other names: their ids cannot tell utterances apart.
    return not any(not ids[i] & ids[j] and said[i] & said[j] for i in range(len(files)) for j in range(i))


def _ids(results: Results) -> Iterator[str]:
    return (p.id for p in results.predictions)


def _sentences(results: Results) -> Iterator[str]:
    return (_said(p.reference, results.run.language) for p in results.predictions)


def _labels(paths: Sequence[str]) -> dict[str, str]:
    """The shortest endings of the paths, without suffix, that tell them apart."""
    parts = {path: PurePath(path).with_suffix("").parts if PurePath(path).suffix else PurePath(path).parts
             for path in paths}  # fmt: skip
    labels = {}
    for path in paths:
        for length in range(1, len(parts[path]) + 1):
            ending = parts[path][-length:]
            if sum(other[-length:] == ending for other in parts.values()) == 1:
                break
        labels[path] = "/".join(ending) if paths.count(path) == 1 and len(ending) else path
    return labels
