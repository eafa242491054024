"""The wording of an analysis: one sentence with the largest cause first, then tables; and the same as plain values.

Rates are in per cent of reference units and differences in points, as everywhere in reports.
"""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

from asr_headroom.analysis.categories import CATEGORIES, CategoryCount
from asr_headroom.analysis.causes import Cause, CauseDifference, DifferenceSplit, ErrorSplit
from asr_headroom.analysis.distribution import BELOW, Distribution
from asr_headroom.analysis.explanation import Explanation, SystemExplanation
from asr_headroom.analysis.slices import Column, Slice
from asr_headroom.report.verdict import format_interval, format_p, format_percent, format_points, has_interval
from asr_headroom.text.normalize import Normalizer
from asr_headroom.text.units import rate_name, unit_name

__all__ = ["analysis_headline", "analysis_json", "analysis_lines"]

_KINDS = {"format": "format, not hearing", "output": "broken output, not hearing", "hearing": "hearing"}
_MAX_TEXT = 24
"""Characters of an example that a table shows."""
_MAX_SLICES = 8
"""Of one column."""
_MANY = 0.1
"""Share of the errors from which missing ends are worth a note."""
_HOW_TO_READ = "  points are parts of the error rate and add up; rates without one cause alone do not"


def analysis_headline(explanation: Explanation) -> str:
    """The largest cause in one sentence.

    Of a difference, the cause that holds the largest part of it, in either direction; of a single run, the one that
    holds most of its errors.
    """
    if explanation.difference is None:
        return _headline_of_one(explanation.base.split)
    return _headline_of_difference(explanation.difference)


def _headline_of_one(split: ErrorSplit) -> str:
    rate = f"{split.name}: {rate_name(split.normalizer.unit)} {format_percent(split.rate)}"
    if not split.errors:
        return f"{rate}; there is no error to explain"
    first = max(split.shares, key=lambda share: share.errors)
    hearing = split.group_rate("hearing")
    if first.cause.group == "hearing":
        others = 100 * (split.rate - hearing)
        return f"{rate}, {100 * hearing:.2f} points of it hearing; format and broken outputs hold {others:.2f}"
    return f"{rate}; the largest cause, {_named(first.cause)}, holds {100 * first.rate:.2f} points; hearing holds " + (
        f"{100 * hearing:.2f}"
    )


def _headline_of_difference(split: DifferenceSplit) -> str:
    rates = f"{rate_name(split.base.normalizer.unit)} {format_percent(split.base.rate)} → "
    sentence = f"{split.system.name} against {split.base.name}: {rates}{format_percent(split.system.rate)}"
    sentence += f" ({format_points(split.difference)} points)"
    if not split.ranked or not split.ranked[0].difference:
        return f"{sentence}; no cause differs between the two"
    first = split.ranked[0]
    hearing = next(part for part in split.parts if part.cause.id == "acoustic")
    if first.cause.group == "hearing":
        others = {group: format_points(split.group_difference(group)) for group in ("format", "output")}
        sentence += f"; the largest cause is hearing, {_with_interval(hearing)}; "
        return f"{sentence}format holds {others['format']}, broken outputs {others['output']}"
    sentence += f"; the largest cause, {_named(first.cause)}, holds {format_points(first.difference)}"
    return f"{sentence}; hearing changed by {_with_interval(hearing)}"


def _named(cause: Cause) -> str:
    """The cause in a sentence, with the reminder that it is not hearing."""
    return f"{cause.label.split(' (')[0]} ({_KINDS[cause.group]})"


def _with_interval(part: CauseDifference) -> str:
    if not has_interval(part.comparison):
        return format_points(part.difference)
    return f"{format_points(part.difference)} ({format_interval(part.comparison.interval, signed=True)})"


def analysis_lines(explanation: Explanation) -> Iterator[str]:
    """The analysis as text, line by line; the first is :func:`analysis_headline`."""
    yield analysis_headline(explanation)
    yield _what_was_counted(explanation)
    yield from (f"  note: {note}" for note in (*explanation.notes, *_missing_ends(explanation)))
    yield ""
    yield from _cause_lines(explanation)
    yield from _category_lines(explanation)
    if explanation.confusions:
        yield ""
        yield from _confusion_lines(explanation)
    yield ""
    yield from _distribution_lines(explanation)
    yield from _regression_lines(explanation)
    slices = list(_slice_lines(explanation))
    if slices:
        yield ""
        yield from slices


def _what_was_counted(explanation: Explanation) -> str:
    normalizer = explanation.normalizer
    text = f"  errors in {unit_name(normalizer.unit)} as {normalizer.id} counts them{_hidden(normalizer)}; "
    text += _number(explanation.num_utterances, "utterance")
    if explanation.difference is not None:
        clusters = _number(explanation.difference.num_clusters, "cluster")
        text += f", {clusters} by {explanation.difference.cluster_by}"
    if explanation.left_out:
        text += f"; {explanation.left_out} that only one of the two has are left out"
    return text


def _hidden(normalizer: Normalizer) -> str:
    """What the profile leaves nobody to see."""
    if normalizer("A") == normalizer("a"):
        raw = "raw-characters" if normalizer.unit == "character" else "raw"
        return f" (without case and punctuation, which --normalizer {raw} shows)"
    return ""


def _missing_ends(explanation: Explanation) -> Iterator[str]:
    """Hearing holds what was not written down at all, and an end that is missing may never have been heard."""
    for side in (explanation.base, explanation.system):
        cut = side.categories.of("truncation") if side is not None else None
        if side is not None and cut is not None and cut.share >= _MANY:
            yield (
                f"{side.split.name} leaves out the end of {_number(cut.utterances, 'utterance')}, "
                f"{100 * cut.share:.0f} % of its errors, counted as hearing; a token limit or cut audio does that, too"
            )


def _cause_lines(explanation: Explanation) -> Iterator[str]:
    split, difference = explanation.base.split, explanation.difference
    if difference is None:
        rows = [
            (s.cause.label, _points(s.rate), _interval_text(s.interval), _percent(s.rate_without))
            for s in sorted(split.shares, key=lambda s: -s.errors)
            if s.errors
        ]
        rows.append(("all errors", f"{100 * split.rate:.2f}", "", ""))
        if split.errors:
            yield from _table(("cause", "points", "95 % interval", "rate without it"), rows)
            yield _HOW_TO_READ
        yield from _capped_lines(split)
        return
    parts = [
        (
            part.cause.label,
            _points(part.base),
            _points(part.system),
            format_points(part.difference),
            format_interval(part.comparison.interval, signed=True) if has_interval(part.comparison) else "",
            format_p(part.holm_p) if has_interval(part.comparison) else "",
            _without(difference, part),
        )
        for part in difference.ranked
    ]
    if not parts:
        yield "  neither of the two makes an error"
        return
    before, after = (f"{100 * side.rate:.2f}" for side in (difference.base, difference.system))
    parts.append(("all errors", before, after, format_points(difference.difference), "", "", ""))
    yield from _table(
        ("cause", "base", "system", "points", "95 % interval", "p (Holm)", "rates without it alone"), parts
    )
    yield f"{_HOW_TO_READ}; p (Holm) is adjusted for the number of rows"
    for side in (difference.base, difference.system):
        yield from _capped_lines(side)


def _without(difference: DifferenceSplit, part: CauseDifference) -> str:
    rates = [side.share(part.cause.id).rate_without for side in (difference.base, difference.system)]
    return " → ".join(_percent(rate) for rate in rates if rate is not None)


def _capped_lines(split: ErrorSplit) -> Iterator[str]:
    utterances, errors = split.overlong()
    if utterances:
        has, holds = ("has", "holds") if utterances == 1 else ("have", "hold")
        units = unit_name(split.normalizer.unit)
        yield (
            f"  {split.name}: {_number(utterances, 'utterance')} {has} more errors than {units} were said and {holds} "
            f"{errors} of {_number(split.errors, 'error')}; with formats equal and each utterance capped at its length "
            f"the rate is {format_percent(split.rate_capped)} (uncapped {format_percent(split.rate_formats_equal)})"
        )


def _category_lines(explanation: Explanation) -> Iterator[str]:
    labels = {category.id: category.label for category in CATEGORIES}
    if not any(side.categories.errors for side in (explanation.base, explanation.system) if side is not None):
        return
    yield ""
    base, system = explanation.base.categories, explanation.system.categories if explanation.system else None
    shown = base if system is None else system
    names = list(dict.fromkeys(count.category for count in (*shown.counts, *base.counts)))
    rows = []
    for name in names:
        count = shown.of(name)
        change = []
        if system is not None:
            earlier = base.of(name)
            change = [str(earlier.errors if earlier else 0)]
        rows.append(
            (
                name,
                *change,
                str(count.errors if count else 0),
                f"{100 * count.share:.1f} %" if count else "",
                str(count.blocks if count else 0),
                str(count.sentences if count else 0),
                _example(count) or labels[name],
            )
        )
    errors = ("base", "system") if system is not None else ("errors",)
    yield from _table(("category", *errors, "share", "blocks", "sentences", "for example"), rows)
    if not base.cased:
        yield "  no name_like: capitals in these references do not tell names"


def _example(count: CategoryCount | None) -> str:
    if count is None or not count.examples:
        return ""
    left, right, _ = count.examples[0]
    return f"{_short(left)} → {_short(right)}"


def _confusion_lines(explanation: Explanation) -> Iterator[str]:
    if explanation.system is None:
        rows = [(_arrow(c), c.category, str(c.sentences), str(c.occurrences)) for c, _ in explanation.confusions]
        yield from _table(("confusion", "category", "sentences", "times"), rows)
        return
    rows = [(_arrow(c), c.category, str(earlier), str(c.sentences)) for c, earlier in explanation.confusions]
    yield from _table(("confusion that grew", "category", "sentences of base", "of system"), rows)


def _distribution_lines(explanation: Explanation) -> Iterator[str]:
    sides = [side for side in (explanation.base, explanation.system) if side is not None]
    headers = (
        "utterances",
        "perfect",
        *(f"< {100 * limit:.0f} %" for limit in BELOW),
        "median",
        "worst",
        "half the errors in",
    )
    rows = [(side.split.name, *_distribution_cells(side.distribution)) for side in sides]
    yield from _table(headers, rows)


def _distribution_cells(spread: Distribution) -> tuple[str, ...]:
    rates = (f"{100 * spread.median:.1f} %", f"{100 * spread.worst:.1f} %", str(spread.utterances_with_half))
    return (str(spread.perfect), *map(str, spread.below), *rates)


def _regression_lines(explanation: Explanation) -> Iterator[str]:
    regressions = explanation.regressions
    if regressions is None or not regressions.causes:
        return
    yield ""
    labels = (
        {part.cause.id: part.cause.label for part in explanation.difference.parts} if explanation.difference else {}
    )
    length = regressions.reference_length
    rows = [
        (
            labels.get(change.cause, change.cause),
            f"+{100 * change.gained / length:.2f}",
            f"{change.num_worse} ({_number(change.num_sentences_worse, 'sentence')})",
            f"−{100 * abs(change.lost) / length:.2f}",
            str(change.num_better),
        )
        for change in regressions.causes
        if change.num_worse or change.num_better
    ]
    yield from _table(
        ("what got worse, what better", "points worse", "utterances", "points better", "utterances"), rows
    )


def _slice_lines(explanation: Explanation) -> Iterator[str]:
    rows, left = [], 0
    shown = [part for column in explanation.slices.columns for part in _most_telling(column)]
    for part in explanation.slices:
        if part.base is None:
            continue
        if part not in shown:
            left += 1
            continue
        cells = [f"{part.column}: {part.label}", str(part.num_utterances), f"{100 * part.base.rate:.2f}"]
        if part.comparison is not None:
            cells += [
                f"{100 * part.comparison.system:.2f}",
                format_points(part.comparison.difference),
                format_p(part.holm_p) if part.holm_p is not None else "",
            ]
        rows.append(tuple(cells))
    if not rows:
        return
    headers = ("slice", "utterances", "base", "system", "points", "p (Holm)")
    yield from _table(headers[: len(rows[0])], rows)
    if left:
        yield f"  … and {left} more slices (--json shows all)"


def _most_telling(column: Column) -> list[Slice]:
    """The slices of a column that a page has room for: the likeliest differences, else the highest rates."""
    rated = [part for part in column.slices if part.base is not None]
    ranked = sorted(rated, key=_tells_least)[:_MAX_SLICES]
    return [part for part in rated if part in ranked]


def _tells_least(part: Slice) -> tuple[float, float]:
    p_value = part.comparison.p_value if part.comparison is not None else 1.0
    return p_value, -(part.base.rate if part.base is not None else 0.0)


def _number(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _arrow(confusion: Any) -> str:
    return f"{_short(confusion.reference)} → {_short(confusion.hypothesis)}"


def _short(text: str) -> str:
    text = text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 1] + "…"
    return text or "∅"


def _points(rate: float) -> str:
    """A part of a rate, which may be below zero."""
    return format_points(rate).removeprefix("+")


def _percent(rate: float | None) -> str:
    return "" if rate is None else f"{100 * rate:.2f}"


def _interval_text(interval: tuple[float, float]) -> str:
    low, high = interval
    return "" if high - low < 1e-12 else f"{_points(low)} to {_points(high)}"


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Aligned columns: the first to the left, numbers to the right, examples as they come."""
    widths = [max(_width(row[i]) for row in (headers, *rows)) for i in range(len(headers))]
    for row in (headers, *rows):
        cells = []
        for index, (cell, width) in enumerate(zip(row, widths, strict=True)):
            space = " " * (width - _width(cell))
            left = index == 0 or headers[index] in ("category", "for example")
            cells.append(cell + space if left else space + cell)
        yield ("  " + "  ".join(cells)).rstrip()


def _width(text: str) -> int:
    """Columns of a terminal: Chinese characters take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def analysis_json(explanation: Explanation) -> dict[str, Any]:
    """The analysis as plain values; rates and differences are fractions, differences are system minus base."""
    split, difference = explanation.base.split, explanation.difference
    plain: dict[str, Any] = {
        "headline": analysis_headline(explanation),
        "n": explanation.num_utterances,
        "left_out": explanation.left_out,
        "normalizer": {"id": split.normalizer.id, "hash": split.normalizer.hash},
        "unit": split.normalizer.unit,
        "base": _system_json(explanation.base),
    }
    if difference is not None and explanation.system is not None:
        plain |= {
            "system": _system_json(explanation.system),
            "clusters": difference.num_clusters,
            "cluster_by": difference.cluster_by,
            "difference": difference.difference,
            "first_cause": difference.ranked[0].cause.id if difference.ranked else None,
            "groups": {group: difference.group_difference(group) for group in _KINDS},
            "causes": [_part_json(difference, part) for part in difference.parts],
        }
    if explanation.regressions is not None:
        plain["regressions"] = [dataclasses.asdict(change) for change in explanation.regressions.causes]
    plain["confusions"] = [
        dataclasses.asdict(confusion) | ({} if earlier is None else {"sentences_of_base": earlier})
        for confusion, earlier in explanation.confusions
    ]
    plain["slices"] = [_slice_json(part) for part in explanation.slices]
    plain["notes"] = list(explanation.notes)
    return plain


def _system_json(side: SystemExplanation) -> dict[str, Any]:
    split, categories = side.split, side.categories
    utterances, errors = split.overlong()
    return {
        "name": split.name,
        "rate": split.rate,
        "errors": split.errors,
        "reference_length": split.length,
        "rate_formats_equal": split.rate_formats_equal,
        "rate_formats_equal_capped": split.rate_capped,
        "overlong": {"utterances": utterances, "errors": errors},
        "causes": [
            {
                "cause": share.cause.id,
                "group": share.cause.group,
                "rate": share.rate,
                "errors": share.errors,
                "share": share.share,
                "ci_low": share.interval[0],
                "ci_high": share.interval[1],
                "rate_without": share.rate_without,
            }
            for share in split.shares
        ],
        "categories": [dataclasses.asdict(count) for count in categories.counts],
        "references_cased": categories.cased,
        "distribution": dataclasses.asdict(side.distribution),
    }


def _part_json(difference: DifferenceSplit, part: CauseDifference) -> dict[str, Any]:
    return {
        "cause": part.cause.id,
        "group": part.cause.group,
        "label": part.cause.label,
        "base": part.base,
        "system": part.system,
        "difference": part.difference,
        "ci_low": part.comparison.interval.low,
        "ci_high": part.comparison.interval.high,
        "p_value": part.comparison.p_value,
        "holm_p": part.holm_p,
        "share": part.share,
        "base_without": difference.base.share(part.cause.id).rate_without,
        "system_without": difference.system.share(part.cause.id).rate_without,
    }


def _slice_json(part: Any) -> dict[str, Any]:
    plain = {
        "column": part.column,
        "label": part.label,
        "n": part.num_utterances,
        "clusters": part.num_clusters,
        "base": part.base.rate if part.base else None,
    }
    if part.comparison is not None:
        plain |= {
            "system": part.comparison.system,
            "difference": part.comparison.difference,
            "ci_low": part.comparison.interval.low,
            "ci_high": part.comparison.interval.high,
            "p_value": part.comparison.p_value,
            "holm_p": part.holm_p,
        }
    return plain
