import pytest

from asr_headroom.errors import ConfigError
from asr_headroom.text.languages import LANGUAGE_NAMES, language_tag, macro_language


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("French", "fr"),
        ("fr", "fr"),
        ("fr_fr", "fr-FR"),
        ("FR-ca", "fr-CA"),
        ("fra", "fr"),
        ("fre", "fr"),
        ("Mandarin", "zh"),
        ("cmn_hans_cn", "zh-Hans-CN"),
        ("zh-TW", "zh-TW"),
        ("ZH_HANT_tw", "zh-Hant-TW"),
        ("haitian_creole", "ht"),
        ("Haitian Creole", "ht"),
        ("yue", "yue"),
        (" ar-EG ", "ar-EG"),
        ("es-419", "es-419"),
        ("iw", "he"),
        ("Myanmar", "my"),
        ("ckb_iq", "ckb-IQ"),
        ("jv", "jw"),
    ],
)
def test_names_and_tags(name, tag):
    assert language_tag(name) == tag
    assert language_tag(tag) == tag


@pytest.mark.parametrize("tag", sorted(LANGUAGE_NAMES))
def test_every_name_leads_to_its_tag(tag):
    assert language_tag(LANGUAGE_NAMES[tag].title()) == tag


def test_every_name_of_whisper_is_known():
    tokens = pytest.importorskip("transformers.models.whisper.tokenization_whisper")
    for tag, name in tokens.LANGUAGES.items():
        assert language_tag(name) == language_tag(tag) == tag
    for name, tag in tokens.TO_LANGUAGE_CODE.items():
        assert language_tag(name) == tag


@pytest.mark.parametrize("name", ["Frensh", "", "klingonish", "f", "fr FR!", "法语", "1", "../fr"])
def test_what_is_no_language_is_refused(name):
    with pytest.raises(ConfigError, match="unknown language"):
        language_tag(name)


def test_refusal_suggests():
    with pytest.raises(ConfigError, match=r"unknown language 'Frensh'; did you mean 'french'\?"):
        language_tag("Frensh")


@pytest.mark.parametrize(
    ("tag", "macro"), [("yue-HK", "zh"), ("cmn", "zh"), ("arz", "ar"), ("fra", "fr"), ("pt-BR", "pt"), ("ckb", "ckb")]
)
def test_members_belong_to_a_macro_language(tag, macro):
    assert macro_language(tag) == macro
