"""The code by which a model knows a language, whatever tag of that language it is told. Torch-free.

Models have one code per language and few of them are BCP-47's: Whisper says ``no``, ``tl`` and ``jw`` where data sets
say ``nb-NO``, ``fil`` and ``jv``. Taking the first subtag alone refuses languages that the model knows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection

from asr_headroom.errors import ConfigError, ModelError, did_you_mean
from asr_headroom.text.languages import language_tag, primary_subtag

__all__ = ["known_code", "told_language"]

_SAME = (("no", "nb"), ("tl", "fil"), ("jw", "jv"), ("zh", "cmn"), ("he", "iw"), ("id", "in"), ("yi", "ji"))
"""Codes of one written language."""


def known_code(language: str, known: Collection[str]) -> str | None:
    """The one of ``known`` that stands for the language of a tag; None where there is none.

    >>> known_code("fr-FR", ["en", "fr"]), known_code("nb-NO", ["no"]), known_code("cmn-Hans-CN", ["zh"])
    ('fr', 'no', 'zh')
    >>> known_code("yue", ["zh"]) is None
    True
    """
    codes = [primary_subtag(language)]
    with contextlib.suppress(ConfigError):  # no language at all, and so no model's
        codes.append(primary_subtag(language_tag(language)))
    for same in _SAME:
        if not set(same).isdisjoint(codes):
            codes += same
    return next((code for code in codes if code in known), None)


def told_language(language: str, known: Collection[str], model: str) -> str:
    """As :func:`known_code`, for a model that is told the language.

    Args:
        language: the tag.
        known: codes of the model.
        model: for the error.

    Raises:
        ModelError: the model does not know it; the message lists what it does.
    """
    code = known_code(language, known)
    if code is None:
        raise ModelError(
            f"{model} has no language '{language}'{did_you_mean(primary_subtag(language), known)} "
            f"(it has: {', '.join(known)})"
        )
    return code
