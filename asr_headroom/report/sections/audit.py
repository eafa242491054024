"""Section: traps of measurement that the predictions show."""

from __future__ import annotations

from collections.abc import Sequence

from asr_headroom.analysis.audit import Audit
from asr_headroom.analysis.audit_finding import Finding
from asr_headroom.report.audit_text import size_text
from asr_headroom.report.sections.blocks import Block, Cell, Grid, Paragraph, Section
from asr_headroom.report.verdict import describe_number

__all__ = ["audit_section"]

_INKS = {"severe": "worse", "warning": "", "note": "cannot-tell"}


def audit_section(found: Audit | None) -> Section | None:
    """The findings, the most severe first; None where nothing was audited."""
    if found is None:
        return None
    blocks: list[Block] = []
    if found.findings:
        rows = [_cells(finding) for finding in found.findings]
        blocks.append(Grid(head=["trap", "size", "what was found", "runs"], rows=rows, text_columns=(2, 3)))
    blocks.append(Paragraph(f"Looked for and not found: {'; '.join(found.not_found) or 'nothing'}."))
    if found.not_looked_for:
        lacking = "; ".join(f"{what} (needs {need})" for what, need in found.not_looked_for)
        blocks.append(Paragraph(f"Not looked for: {lacking}."))
    return Section(id="audit", title="Audit", takeaway=_takeaway(found.findings), blocks=blocks)


def _takeaway(findings: Sequence[Finding]) -> str:
    if not findings:
        return "no known trap of measurement found"
    first = findings[0]
    return f"{describe_number(len(findings), 'finding')}; first {first.title[0].lower()}{first.title[1:]}"


def _cells(finding: Finding) -> list[Cell | str]:
    return [
        Cell(finding.title, below=f"{finding.severity}, {finding.trap}", ink=_INKS[finding.severity]),
        size_text(finding),
        finding.message,
        ", ".join(finding.files[:4]) + (f" and {len(finding.files) - 4} more" if len(finding.files) > 4 else ""),
    ]
