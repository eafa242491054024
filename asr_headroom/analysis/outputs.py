"""How many outputs of a test set are odd; the rules for one of them are in :mod:`asr_headroom.models.outputs`."""

from __future__ import annotations

from dataclasses import dataclass

from asr_headroom.models.outputs import OutputFlags, describe_output, loop_spans
from asr_headroom.results.store import Results
from asr_headroom.text.normalize import Normalizer

__all__ = ["OutputCounts", "OutputFlags", "count_outputs", "describe_output", "loop_spans"]


@dataclass(frozen=True, kw_only=True)
class OutputCounts:
    """How many outputs of a test set are odd, and in what way.

    Attributes:
        total: outputs.
        empty: of which the normaliser leaves nothing, although it leaves something of the reference.
        looped: that repeat themselves, or in which a decoder's guard stopped a repetition.
        truncated: that the decoder cut at its token limit; None where no decoder said so.
        wrong_script: see :class:`OutputFlags`.
        wrong_language: the same.
        script_variant: the same.
    """

    total: int
    empty: int = 0
    looped: int = 0
    truncated: int | None = None
    wrong_script: int = 0
    wrong_language: int = 0
    script_variant: int = 0

    def rate(self, number: int | None) -> float | None:
        """A number of outputs as a share of all."""
        return None if number is None or not self.total else number / self.total


def count_outputs(results: Results, normalizer: Normalizer) -> OutputCounts:
    """Describes every output of a system."""
    predictions, language = results.predictions, results.run.language
    flags = [describe_output(p.reference, p.hypothesis, p.language or language) for p in predictions]
    # A normaliser that marks empty texts leaves its mark of them.
    nothing = normalizer("")
    is_decoded_here = results.run.kind != "import"
    truncated = sum(p.truncated for p in predictions)
    return OutputCounts(
        total=len(predictions),
        empty=sum(normalizer(p.hypothesis) == nothing != normalizer(p.reference) for p in predictions),
        looped=sum(p.looped or f.looped for p, f in zip(predictions, flags, strict=True)),
        truncated=truncated if is_decoded_here or truncated else None,
        wrong_script=sum(f.wrong_script for f in flags),
        wrong_language=sum(f.wrong_language for f in flags),
        script_variant=sum(f.script_variant for f in flags),
    )
