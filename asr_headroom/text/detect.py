"""Which script a text is written in, and which language, from its function words. Rough on purpose, and explicable.

Scoring needs this where files state no language, and where a recogniser answers in another language than was spoken.
Scripts are Unicode's; languages in Latin, Cyrillic or Arabic script are told apart by their most frequent function
words. A text with too few of them is "unknown", never a guess.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

from asr_headroom.text.units import primary_subtag

__all__ = ["foreign_language", "guess_language", "has_content", "script_counts", "scripts_of_language"]

_WORD = re.compile(r"[^\W\d_]+")
_MIN_SHARE = 0.1
"""Share of a corpus' words that must be function words of a language for it to be guessed."""
_MIN_EVIDENCE = 3
"""Function words that a corpus must hold for its language to be guessed: "non" alone is four languages."""
_MIN_LEAD = 1.25
"""How many times more function words than the second language's a guess needs."""
_MIN_FOREIGN_WORDS = 3
"""Function words of another language that an utterance needs to be called that language."""

_FUNCTION_WORDS = {
    language: frozenset(words.split())
    for language, words in {
        "en": "the of and to in is was that for it with as his he on be at by had not are but from or have an they "
        "which one you were her all she there would their we him been has when who will no more if out so what",
        "fr": "le la les de des du un une et est à au aux en dans que qui pour par sur pas ne se ce cette ces son sa "
        "ses il elle ils elles nous vous plus avec sont été ont mais ou où leur leurs même fait comme être c d l qu n",
        "de": "der die das und in den von zu mit sich des auf für ist im dem nicht ein eine als auch es an werden aus "
        "er hat dass sie nach wird bei einer um am sind noch wie einem über einen so zum war haben nur oder aber vor",
        "es": "el la los las de del que y en un una es se no por con para su al lo como más o pero sus le ha me si sin "
        "sobre este ya entre cuando todo esta ser son dos también fue había era muy años hasta desde está",
        "it": "il lo la i gli le di del della dei delle che e è un una in per non con si da al alla come anche ma sono "
        "nel nella più ha dal questo suo sua ed o se dalla loro essere stato stata tra tutti degli sul sulla",
        "pt": "o a os as de do da dos das que e é em um uma para com não se na no por mais ao como mas foi ele seu sua "
        "ou ser quando muito há nos já está eu também só pelo pela até isso ela entre era depois sem mesmo aos são",
        "nl": "de het een en van in is dat op te zijn voor met die niet aan er om ook als dan maar bij nog uit door "
        "naar heeft ze werd wordt over tot hij of hun kan deze worden meer waren geen omdat zich",
        "sv": "och att det i en på är av för som med den till har de inte om ett han men var jag sig från vi så kan "
        "när man hade skulle eller efter vid här bara sin ut också nu hon varit ska mycket över",
        "da": "og i at det en den til er som på de med han af for ikke der var mig sig men et har om vi min havde ham "
        "hun nu over da fra du ud sin dem os op man hans hvor eller hvad skal selv her alle vil blev kunne ind når",
        "no": "og i det på som er en til å av for at har med de ikke den han var et om jeg men seg fra ble kan også "
        "etter ved eller når nå hun være dette mot mye bare vil hadde ut være noe",
        "fi": "ja on ei se että hän oli ovat mutta kun niin myös kuin tai joka sen jos hänen ne mitä olla vain nyt "
        "voi jotka sitä ole tämä vielä mukaan sekä",
        "pl": "i w na z się do nie to jest że o jak za od po przez dla ale tym co tak jego przy był już czy oraz może "
        "są być tego które który także była",
        "cs": "a se v na je že to s z do o i k ve pro za by ale jako po od jsem byl jsou jeho která který také nebo "
        "než aby až jen při má tak",
        "ro": "și de în la a cu nu o pe un care din că este mai pentru sau ca au fost se după prin lor ale sunt dar "
        "fi sa această acest ce",
        "tr": "ve bir bu da de için ile o ne çok daha olarak gibi ama kadar sonra var mi olan ki en her değil ya "
        "şey olduğu tarafından",
        "hu": "a az és hogy nem is egy meg ez csak de volt van ki már még azt mint vagy el ha azonban majd pedig után "
        "amely lesz sem",
        "id": "yang dan di itu dengan untuk tidak ini dari dalam akan pada juga saya ke karena tersebut bisa ada "
        "mereka lebih telah oleh atau sebagai adalah kata",
        "vi": "và của là có không được cho trong một người với các những này khi để đã tôi ở về như từ ra đến cũng "
        "lại nhưng vào",
        "ca": "el la els les de del dels que i en un una és per amb no es al a com més o però seu seva ha són aquest "
        "aquesta va ser hi ho també molt fins entre quan",
        "ru": "и в не на что я с он а как это по но они к у же из за бы был от для мы вы так его только было она то "
        "все или если о до",
        "uk": "і в не на що я з він а як це по але вони до у ж із за б був від для ми ви так його тільки було вона та "
        "й або якщо про",
        "bg": "и в не на че аз с той а как това по но те към у от за би беше ние вие така само тя да са се е които "
        "който или ако до",
        "ar": "في من على أن إلى عن هو هي التي الذي ما لا هذا هذه كان كانت مع قد كل أو ثم بعد بين لم إن و كما",
        "fa": "در به از که این را با است برای آن یک خود تا بر هم نیز شده بود شد می های ها و اما یا",
        "ur": "کے میں کی ہے اور سے کا کو اس یہ نے پر کہ ہیں ایک بھی نہیں تھا کر ان وہ تو گیا جو",
    }.items()
}
_SCRIPTS = {
    "zh": "CJK", "yue": "CJK", "ja": "CJK HIRAGANA KATAKANA", "ko": "HANGUL CJK", "th": "THAI", "lo": "LAO",
    "my": "MYANMAR", "km": "KHMER", "bo": "TIBETAN", "el": "GREEK", "he": "HEBREW", "yi": "HEBREW",
    "hi": "DEVANAGARI", "mr": "DEVANAGARI", "ne": "DEVANAGARI", "sa": "DEVANAGARI", "bn": "BENGALI", "as": "BENGALI",
    "pa": "GURMUKHI", "gu": "GUJARATI", "or": "ORIYA", "ta": "TAMIL", "te": "TELUGU", "kn": "KANNADA",
    "ml": "MALAYALAM", "si": "SINHALA", "ka": "GEORGIAN", "hy": "ARMENIAN", "am": "ETHIOPIC", "ti": "ETHIOPIC",
    "ar": "ARABIC", "fa": "ARABIC", "ur": "ARABIC", "ps": "ARABIC", "sd": "ARABIC", "ug": "ARABIC",
    "ru": "CYRILLIC", "uk": "CYRILLIC", "be": "CYRILLIC", "bg": "CYRILLIC", "mk": "CYRILLIC", "mn": "CYRILLIC",
    "ky": "CYRILLIC", "tg": "CYRILLIC", "tt": "CYRILLIC", "ba": "CYRILLIC", "kk": "CYRILLIC LATIN",
    "sr": "CYRILLIC LATIN", "bs": "LATIN CYRILLIC", "uz": "LATIN CYRILLIC", "az": "LATIN CYRILLIC",
    **dict.fromkeys(
        ("en", "fr", "de", "es", "it", "pt", "nl", "sv", "da", "no", "nb", "nn", "fi", "pl", "cs", "ro", "tr",
         "hu", "id", "vi", "ca", "gl", "eu", "sk", "sl", "hr", "et", "lv", "lt", "ga", "cy", "is", "mt", "sq",
         "af", "sw", "ms", "fil", "tl", "jv", "su", "ha", "yo", "ig", "zu", "xh", "so", "br", "oc", "lb", "mi",
         "la", "eo"), "LATIN"
    ),
}  # fmt: skip
_LANGUAGE_OF_SCRIPT = {
    "HIRAGANA": "ja", "KATAKANA": "ja", "HANGUL": "ko", "THAI": "th", "LAO": "lo", "MYANMAR": "my", "KHMER": "km",
    "TIBETAN": "bo", "GREEK": "el", "HEBREW": "he", "DEVANAGARI": "hi", "BENGALI": "bn", "GURMUKHI": "pa",
    "GUJARATI": "gu", "ORIYA": "or", "TAMIL": "ta", "TELUGU": "te", "KANNADA": "kn", "MALAYALAM": "ml",
    "SINHALA": "si", "GEORGIAN": "ka", "ARMENIAN": "hy", "ETHIOPIC": "am", "CJK": "zh",
}  # fmt: skip


def has_content(text: str) -> bool:
    """Whether a text says anything: at least one letter or digit.

    >>> has_content("« » …"), has_content("7")
    (False, True)
    """
    return any(map(str.isalnum, text))


@functools.lru_cache(maxsize=20_000)
def _script_of(character: str) -> str | None:
    if not character.isalpha():
        return None
    name = unicodedata.name(unicodedata.normalize("NFKC", character)[:1], "")
    return name.split(" ", 1)[0] or None


def script_counts(text: str) -> Counter[str]:
    """Letters of a text by script, in Unicode's names; Chinese characters are ``CJK``.

    >>> script_counts("你好, OK").most_common()
    [('CJK', 2), ('LATIN', 2)]
    """
    return Counter(script for character in text if (script := _script_of(character)))


def scripts_of_language(language: str) -> frozenset[str]:
    """The scripts that a language is written in; empty where this module does not know it."""
    return frozenset(_SCRIPTS.get(primary_subtag(language), "").split())


def guess_language(texts: Iterable[str]) -> str | None:
    """The language of a corpus by its script and function words; None where the evidence is thin.

    >>> guess_language(["le chat est sur la table", "il ne dort pas"]), guess_language(["abc"])
    ('fr', None)
    """
    texts = list(texts)
    scripts = script_counts(" ".join(texts))
    if not scripts:
        return None
    # Japanese has more Chinese characters than kana at times, Chinese has no kana at all.
    kana = scripts["HIRAGANA"] + scripts["KATAKANA"]
    script = "HIRAGANA" if kana > 0.05 * scripts.total() else scripts.most_common(1)[0][0]
    if script in _LANGUAGE_OF_SCRIPT:
        return _LANGUAGE_OF_SCRIPT[script]
    words = Counter(word for text in texts for word in _WORD.findall(text.casefold()))
    shares = sorted(
        (
            (sum(words[word] for word in known) / max(1, words.total()), language)
            for language, known in _FUNCTION_WORDS.items()
            if script in scripts_of_language(language)
        ),
        reverse=True,
    )
    if not shares or shares[0][0] < max(_MIN_SHARE, _MIN_EVIDENCE / max(1, words.total())):
        return None
    runner_up = shares[1][0] if len(shares) > 1 else 0.0
    return shares[0][1] if shares[0][0] >= _MIN_LEAD * runner_up else None


def foreign_language(text: str, language: str) -> str | None:
    """The language that a single text is in, where that is plainly not the one expected; else None.

    Another language needs at least three different function words that the expected one does not have, and twice as
    many as the text has of the expected one. Names, titles, loan words and loops do not reach that.

    >>> foreign_language("this is the house that they built", "fr"), foreign_language("le film The Wall", "fr")
    ('en', None)
    """
    expected = _FUNCTION_WORDS.get(primary_subtag(language))
    if expected is None:
        return None
    words = set(_WORD.findall(text.casefold()))
    own = sum(word in expected for word in words)
    best = max(
        ((sum(word in known and word not in expected for word in words), other) for other, known in _LATIN_WORDS),
        default=(0, ""),
    )
    return best[1] if best[0] >= max(_MIN_FOREIGN_WORDS, 2 * own) else None


_LATIN_WORDS = tuple((language, known) for language, known in _FUNCTION_WORDS.items() if _SCRIPTS[language] == "LATIN")
