"""The wording of an audit: paragraphs for people, plain values for machines."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

from asr_headroom.analysis.audit import Audit
from asr_headroom.analysis.audit_finding import Finding

__all__ = ["audit_json", "audit_lines", "size_text"]

_WIDTH = 110
_MAX_FILES = 8


def audit_lines(found: Audit) -> Iterator[str]:
    """An audit as text: the most severe first, one paragraph each; then what was looked for and is not there."""
    files = f"{found.num_files} file{'' if found.num_files == 1 else 's'}"
    tests = f"{found.num_tests} set{'' if found.num_tests == 1 else 's'} of utterances"
    number = f"{len(found.findings)} finding{'' if len(found.findings) == 1 else 's'}"
    yield f"{number if found.findings else 'nothing found'} in {files} on {tests}"
    for finding in found.findings:
        yield ""
        yield f"{finding.severity}  {finding.trap}  {finding.title}  ({size_text(finding)})"
        yield from _wrapped(finding.message)
        for example in finding.examples[:1]:
            yield from _wrapped(f"for example {example}")
        yield from _wrapped(f"files: {_files(finding)}")
        yield f"  {finding.command}"
    yield ""
    if found.not_looked_for:
        lacking: dict[str, list[str]] = {}
        for what, need in found.not_looked_for:
            lacking.setdefault(need, []).append(what)
        for need, whats in lacking.items():
            yield f"not looked for: {'; '.join(whats)} (needs {need})"
    yield f"looked for and not found: {'; '.join(found.not_found) or 'nothing, every trap was found'}"


def audit_json(found: Audit) -> list[dict[str, Any]]:
    """The findings for machines; ``size`` is in ``unit``, and points are hundredths of an error rate."""
    return [
        {
            "trap": finding.trap,
            "title": finding.title,
            "severity": finding.severity,
            "files": list(finding.files),
            "size": finding.size,
            "unit": finding.unit,
            "total": finding.total,
            "sizes": dict(zip(finding.files, finding.sizes, strict=True)),
            "message": finding.message,
            "examples": list(finding.examples),
            "command": finding.command,
        }
        for finding in found.findings
    ]


def size_text(finding: Finding) -> str:
    """How much a finding is, in words.

    >>> size_text(Finding(trap="A.3", title="t", severity="note", files=(), size=204, unit="utterances", message="",
    ...                   command=""))
    '204 utterances'
    """
    if finding.unit == "utterances":
        return f"{finding.size:.0f} utterance{'' if finding.size == 1 else 's'}"
    return f"{finding.size:.2f} points" if finding.unit == "points" else f"{finding.size:.1f} times"


def _files(finding: Finding) -> str:
    more = f" and {len(finding.files) - _MAX_FILES} more" if len(finding.files) > _MAX_FILES else ""
    return ", ".join(finding.files[:_MAX_FILES]) + more


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent="  ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )
