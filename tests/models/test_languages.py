"""Tags of data sets find the codes of models."""

from __future__ import annotations

import pytest
from transformers.models.qwen3_asr.processing_qwen3_asr import LANGUAGE_CODE_TO_NAME
from transformers.models.whisper.tokenization_whisper import LANGUAGES as WHISPER

from asr_headroom.errors import ModelError
from asr_headroom.models.languages import known_code, told_language


@pytest.mark.parametrize(
    ("tag", "code"),
    [
        ("fr", "fr"),
        ("fr-FR", "fr"),
        ("FR_ca", "fr"),
        ("zh-CN", "zh"),
        ("cmn-Hans-CN", "zh"),
        ("cmn_hans_cn", "zh"),
        ("yue-HK", "yue"),
        ("nb-NO", "no"),
        ("nn-NO", "nn"),
        ("fil", "tl"),
        ("jv", "jw"),
        ("he", "he"),
        ("eng", "en"),
        ("French", "fr"),
        ("tlh", None),
        ("zulu", None),
        ("", None),
    ],
)
def test_whispers_codes(tag, code):
    assert known_code(tag, WHISPER) == code


def test_a_models_own_code_comes_first():
    assert known_code("fil-PH", LANGUAGE_CODE_TO_NAME) == "fil"
    assert known_code("nb", ["nb", "no"]) == "nb"


def test_cantonese_is_not_mandarin():
    assert known_code("yue", ["zh"]) is None
    assert known_code("zh-HK", ["yue"]) is None


def test_what_is_unknown_is_refused_with_what_is_known():
    with pytest.raises(ModelError, match=r"m has no language 'frr'; did you mean 'fr'\? \(it has: fr, en\)"):
        told_language("frr", ["fr", "en"], "m")
