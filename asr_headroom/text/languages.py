"""Languages by every name people give them: BCP-47 tags, folder names, English names.

Files of results say ``fr``, ``fr_fr``, ``cmn_hans_cn``, ``fra`` or ``French``; the project says BCP-47. The names are
those of Whisper's hundred languages. Nothing here knows a normaliser or a unit.
"""

from __future__ import annotations

import re

from asr_headroom.errors import ConfigError, did_you_mean

__all__ = ["LANGUAGE_NAMES", "language_name", "language_tag", "macro_language", "primary_subtag"]

LANGUAGE_NAMES = {
    "af": "afrikaans", "am": "amharic", "ar": "arabic", "as": "assamese", "az": "azerbaijani", "ba": "bashkir",
    "be": "belarusian", "bg": "bulgarian", "bn": "bengali", "bo": "tibetan", "br": "breton", "bs": "bosnian",
    "ca": "catalan", "cs": "czech", "cy": "welsh", "da": "danish", "de": "german", "el": "greek", "en": "english",
    "es": "spanish", "et": "estonian", "eu": "basque", "fa": "persian", "fi": "finnish", "fo": "faroese",
    "fr": "french", "gl": "galician", "gu": "gujarati", "ha": "hausa", "haw": "hawaiian", "he": "hebrew",
    "hi": "hindi", "hr": "croatian", "ht": "haitian creole", "hu": "hungarian", "hy": "armenian", "id": "indonesian",
    "is": "icelandic", "it": "italian", "ja": "japanese", "jw": "javanese", "ka": "georgian", "kk": "kazakh",
    "km": "khmer", "kn": "kannada", "ko": "korean", "la": "latin", "lb": "luxembourgish", "ln": "lingala",
    "lo": "lao", "lt": "lithuanian", "lv": "latvian", "mg": "malagasy", "mi": "maori", "mk": "macedonian",
    "ml": "malayalam", "mn": "mongolian", "mr": "marathi", "ms": "malay", "mt": "maltese", "my": "burmese",
    "ne": "nepali", "nl": "dutch", "nn": "nynorsk", "no": "norwegian", "oc": "occitan", "pa": "punjabi",
    "pl": "polish", "ps": "pashto", "pt": "portuguese", "ro": "romanian", "ru": "russian", "sa": "sanskrit",
    "sd": "sindhi", "si": "sinhala", "sk": "slovak", "sl": "slovenian", "sn": "shona", "so": "somali",
    "sq": "albanian", "sr": "serbian", "su": "sundanese", "sv": "swedish", "sw": "swahili", "ta": "tamil",
    "te": "telugu", "tg": "tajik", "th": "thai", "tk": "turkmen", "tl": "tagalog", "tr": "turkish", "tt": "tatar",
    "uk": "ukrainian", "ur": "urdu", "uz": "uzbek", "vi": "vietnamese", "yi": "yiddish", "yo": "yoruba",
    "yue": "cantonese", "zh": "chinese",
}  # fmt: skip
"""Whisper's languages in English, by the tag that models know: Javanese is its ``jw``, where BCP-47 prefers ``jv``."""

_OTHER_NAMES = {
    "castilian": "es", "farsi": "fa", "filipino": "fil", "flemish": "nl", "haitian": "ht", "irish": "ga",
    "letzeburgesch": "lb",
    "mandarin": "zh", "mandarin chinese": "zh", "moldavian": "ro", "moldovan": "ro", "myanmar": "my",
    "norwegian bokmål": "no", "norwegian nynorsk": "nn", "panjabi": "pa", "pushto": "ps", "sinhalese": "si",
    "valencian": "ca", "bokmål": "no",
}  # fmt: skip
_TAG_OF_NAME = {name: tag for tag, name in LANGUAGE_NAMES.items()} | _OTHER_NAMES

# Three-letter and old codes (ISO 639) of languages that have a two-letter one in use.
_PREFERRED = {
    "afr": "af", "amh": "am", "ara": "ar", "asm": "as", "aze": "az", "bak": "ba", "bel": "be", "bul": "bg",
    "ben": "bn", "bod": "bo", "tib": "bo", "bre": "br", "bos": "bs", "cat": "ca", "ces": "cs", "cze": "cs",
    "cym": "cy", "wel": "cy", "dan": "da", "deu": "de", "ger": "de", "ell": "el", "gre": "el", "eng": "en",
    "spa": "es", "est": "et", "eus": "eu", "baq": "eu", "fas": "fa", "per": "fa", "fin": "fi", "fao": "fo",
    "fra": "fr", "fre": "fr", "glg": "gl", "guj": "gu", "hau": "ha", "heb": "he", "iw": "he", "hin": "hi",
    "hrv": "hr", "hat": "ht", "hun": "hu", "hye": "hy", "arm": "hy", "ind": "id", "in": "id", "isl": "is",
    "ice": "is", "ita": "it", "jpn": "ja", "jav": "jw", "jv": "jw", "kat": "ka", "geo": "ka", "kaz": "kk",
    "khm": "km", "kan": "kn", "kor": "ko", "lat": "la", "ltz": "lb", "lin": "ln", "lao": "lo", "lit": "lt",
    "lav": "lv", "mlg": "mg", "mri": "mi", "mao": "mi", "mkd": "mk", "mac": "mk", "mal": "ml", "mon": "mn",
    "mar": "mr", "msa": "ms", "may": "ms", "mlt": "mt", "mya": "my", "bur": "my", "nep": "ne", "nld": "nl",
    "dut": "nl", "nno": "nn", "nob": "no", "nor": "no", "oci": "oc", "pan": "pa", "pol": "pl", "pus": "ps",
    "por": "pt", "ron": "ro", "rum": "ro", "rus": "ru", "san": "sa", "snd": "sd", "sin": "si", "slk": "sk",
    "slo": "sk", "slv": "sl", "sna": "sn", "som": "so", "sqi": "sq", "alb": "sq", "srp": "sr", "sun": "su",
    "swe": "sv", "swa": "sw", "tam": "ta", "tel": "te", "tgk": "tg", "tha": "th", "tuk": "tk", "tgl": "tl",
    "tur": "tr", "tat": "tt", "ukr": "uk", "urd": "ur", "uzb": "uz", "vie": "vi", "yid": "yi", "ji": "yi",
    "yor": "yo", "zho": "zh", "chi": "zh",
}  # fmt: skip

# Languages that ISO 639-3 counts as members of another one and that share its written form.
_MEMBERS = {
    "zh": "cmn cdo cjy cpx czh czo gan hak hsn lzh mnp nan wuu yue",
    "ar": "aao abh abv acm acq acw acx acy adf aeb aec afb ajp apc apd arb arq ars ary arz auz avl ayh ayl ayn ayp pga"
    " shu ssh",
}
_MACRO = {member: macro for macro, members in _MEMBERS.items() for member in members.split()}

_TAG = re.compile(r"[a-z]{2,8}(-[a-z0-9]{1,8})*")


def primary_subtag(language: str) -> str:
    """The language of a BCP-47 tag without region or script, in lower case.

    >>> primary_subtag("zh-CN"), primary_subtag("fr_FR")
    ('zh', 'fr')
    """
    return language.replace("_", "-").split("-", 1)[0].lower()


def macro_language(language: str) -> str:
    """The two-letter language that a tag belongs to for the purposes of writing; its own subtag where there is none.

    >>> macro_language("yue-HK"), macro_language("arz"), macro_language("fra"), macro_language("pt-BR")
    ('zh', 'ar', 'fr', 'pt')
    """
    subtag = primary_subtag(language.strip())
    subtag = _PREFERRED.get(subtag, subtag)
    return _MACRO.get(subtag, subtag)


def language_tag(name: str) -> str:
    """The BCP-47 tag of a language that somebody wrote as a name, a tag or a folder name.

    >>> language_tag("French"), language_tag("fr_fr"), language_tag("cmn_hans_cn"), language_tag("eng")
    ('fr', 'fr-FR', 'zh-Hans-CN', 'en')

    Raises:
        ConfigError: it is neither; the message suggests a near name.
    """
    spoken = " ".join(name.lower().replace("_", " ").split())
    if spoken in _TAG_OF_NAME:
        return _TAG_OF_NAME[spoken]
    tag = name.strip().lower().replace("_", "-")
    primary, *rest = tag.split("-")
    primary = "zh" if primary == "cmn" else _PREFERRED.get(primary, primary)
    # A word of four letters or more is a name that nobody knows, not a language code.
    if not _TAG.fullmatch(tag) or len(primary) > 3:
        raise ConfigError(
            f"unknown language '{name}'{did_you_mean(spoken, _TAG_OF_NAME)} "
            "(known are BCP-47 tags such as 'fr' or 'zh-TW' and English names such as 'French')"
        )
    return "-".join([primary, *map(_subtag_case, rest)])


def language_name(tag: str) -> str:
    """The English name of a tag's language, without region or script.

    >>> language_name("fr-CA"), language_name("fil"), language_name("ht")
    ('French', 'Filipino', 'Haitian Creole')

    Raises:
        ConfigError: no name is known for it.
    """
    subtag = primary_subtag(tag)
    subtag = _PREFERRED.get(subtag, subtag)
    name = LANGUAGE_NAMES.get(subtag) or next((name for name, known in _OTHER_NAMES.items() if known == subtag), None)
    if name is None:
        raise ConfigError(f"no English name is known for the language '{tag}'; leave the language out, or use another")
    return name.title()


def _subtag_case(subtag: str) -> str:
    # RFC 5646 §2.1.1: scripts have a capital first letter, regions are upper case, everything else lower.
    if len(subtag) == 4 and subtag.isalpha():
        return subtag.title()
    return subtag.upper() if len(subtag) == 2 else subtag
