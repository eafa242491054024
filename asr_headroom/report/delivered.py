"""The wording of what the guard delivered: the base, the fine-tuned model, or a point between them."""

from __future__ import annotations

from asr_headroom.analysis.guard import GuardFacts, read_guard
from asr_headroom.analysis.scoring import kept_base
from asr_headroom.results.schema import RunInfo

__all__ = ["delivered_json", "describe_delivered", "describe_point", "name_delivered", "why_base_was_kept"]

_FRACTIONS = {0.25: "one quarter of the way", 0.5: "half way", 0.75: "three quarters of the way"}


def describe_point(alpha: float) -> str:
    """A point on the line from the base to the fine-tuned weights.

    >>> describe_point(0.75), describe_point(0.6)
    ('three quarters of the way from the base (0.75)', '0.6 of the way from the base')
    >>> describe_point(0.0), describe_point(1.0)
    ('the base itself (0)', 'fully fine-tuned (1)')
    """
    if alpha in (0, 1):
        return "fully fine-tuned (1)" if alpha else "the base itself (0)"
    if alpha in _FRACTIONS:
        return f"{_FRACTIONS[alpha]} from the base ({alpha:g})"
    return f"{alpha:g} of the way from the base"


def describe_delivered(guard: GuardFacts) -> str:
    """What was delivered, with the guard's reason."""
    return f"delivered {describe_point(guard.alpha)}" + (f": {guard.reason}" if guard.reason else "")


def name_delivered(guard: GuardFacts) -> str:
    """What was delivered in a few words; empty for the fully fine-tuned model, which is what one expects."""
    if guard.alpha == 1:
        return ""
    return f"delivered {describe_point(guard.alpha)}" if guard.alpha else "the guard kept the base"


def why_base_was_kept(run: RunInfo, *, with_reason: bool = True) -> str | None:
    """Who kept the base, and the guard's reason; None where training delivered something else than the base."""
    if not kept_base(run):
        return None
    guard = read_guard(run)
    if guard is not None and guard.alpha == 0 and run.model.get("best_step") != 0:
        return "the guard kept the base" + (f", as {guard.reason}" if guard.reason and with_reason else "")
    return "no training step beat the base on dev, so the base itself was kept"


def delivered_json(run: RunInfo) -> dict[str, object] | None:
    """The delivered point for machines; None where no guard was at work."""
    guard = read_guard(run)
    return None if guard is None else {"alpha": guard.alpha, "reason": guard.reason}
