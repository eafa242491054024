"""The suite that every model family passes, with tiny random weights, offline.

A family's test file is this::

    from asr_headroom.testing.conformance import ConformanceSuite
    from asr_headroom.testing.tiny.mine import tiny_mine

    class TestMine(ConformanceSuite):
        make = staticmethod(tiny_mine)

pytest collects what :class:`ConformanceSuite` holds; what a family says of itself (``card``, ``abilities``,
``batch_key``) decides what is asked of it, and each thing that it says is proven. A check that does not apply is
skipped with the reason. What can be set is listed in :class:`~asr_headroom.testing.conformance.base.FamilyChecks`.
"""

import pytest

# Before they are imported, so that a failed check shows its values as in any test file.
pytest.register_assert_rewrite(
    *(
        f"{__name__}.{part}"
        for part in ("base", "decoding", "edges", "files", "hypotheses", "learning", "precision", "targets", "updates")
    )
)

from asr_headroom.testing.conformance.base import FamilyChecks  # noqa: E402
from asr_headroom.testing.conformance.decoding import DecodingChecks  # noqa: E402
from asr_headroom.testing.conformance.edges import EdgeChecks  # noqa: E402
from asr_headroom.testing.conformance.files import FileChecks  # noqa: E402
from asr_headroom.testing.conformance.hypotheses import HypothesisChecks  # noqa: E402
from asr_headroom.testing.conformance.learning import LearningChecks  # noqa: E402
from asr_headroom.testing.conformance.precision import PrecisionChecks  # noqa: E402
from asr_headroom.testing.conformance.targets import TargetChecks  # noqa: E402
from asr_headroom.testing.conformance.updates import UpdateChecks  # noqa: E402

__all__ = ["ConformanceSuite", "FamilyChecks"]


class ConformanceSuite(
    TargetChecks,
    EdgeChecks,
    DecodingChecks,
    HypothesisChecks,
    PrecisionChecks,
    LearningChecks,
    UpdateChecks,
    FileChecks,
    FamilyChecks,
):
    """All checks; see the module's docstring."""
