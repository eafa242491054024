"""French: do two spellings sound alike, differ in an accent, in an ending of agreement, or in an elision.

:func:`phonetic_keys` is a small letter-to-sound conversion of our own. It is coarse on purpose: it merges what many
speakers merge (é and è, o open and closed, *in* and *un*), keeps no liaison and drops the schwa inside a word. It
answers "could these be heard as the same", not "how is this pronounced".
"""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata
from collections.abc import Sequence

__all__ = ["are_homophones", "are_inflections", "differ_by_elision", "phonetic_keys", "strip_accents"]

_MAX_READINGS = 16
"""Readings of a stretch of words that are tried; each word in *-ent* has two."""

_VOWEL = "aeiouyàâäéèêëîïôöùûü"
_FRONT = "eiyéèêëîï"

_IRREGULAR = {
    "août": "ut",
    "as": "a",
    "auxquels": "okel",
    "ces": "se",
    "cet": "set",
    "des": "de",
    "dix": "dis",
    "es": "e",
    "est": "e",
    "et": "e",
    "eu": "Y",
    "eue": "Y",
    "eus": "Y",
    "eut": "Y",
    "eût": "Y",
    "femme": "fam",
    "femmes": "fam",
    "fils": "fis",
    "gens": "ZA",
    "les": "le",
    "mes": "me",
    "mille": "mil",
    "monsieur": "m@sj@",
    "oignon": "onjO",
    "oignons": "onjO",
    "pays": "pei",
    "que": "k°",
    "second": "s@gO",
    "sept": "set",
    "ses": "se",
    "six": "sis",
    "sud": "sYd",
    "tes": "te",
    "tranquille": "trAkil",
    "ville": "vil",
    "villes": "vil",
    "villa": "vila",
    "village": "vilaZ",
    "villages": "vilaZ",
}
_SOUNDED_ER = frozenset(
    ("amer", "cancer", "cher", "cuiller", "enfer", "fer", "fier", "hier", "hiver", "mer", "super", "ver")
)

# Tried in order at each position; the first that matches is taken. Look-behind sees the letters before. Sounds: A I O
# are the nasal vowels, U is ou (and w), Y is u, @ is eu and schwa, S is ch, Z is j; gn is nj.
_RULES = tuple(
    (re.compile(pattern), sound)
    for pattern, sound in (
        ("h", ""),
        # Endings
        (r"aient$", "e"),
        (r"(?<=[tv])ient$", "jI"),
        (r"(?<=..)ers?$", "e"),
        (r"(?<=.)ez$", "e"),
        (r"ets?$", "e"),
        (rf"(?<=[{_VOWEL}])es?$", ""),
        (r"(?<=.)es?$", ""),
        # Vowels before l mouillé
        (r"uill", "Yij"),
        (r"(?:ue|oe|eu)il(?:l(?:e(?:s|nt)?$)?)?", "@j"),
        (r"ouil(?:l(?:es?$)?|s?$)", "Uj"),
        (r"ail(?:l(?:es?$)?|s?$)", "aj"),
        (r"eil(?:l(?:es?$)?|s?$)", "ej"),
        (r"(?<=[^aeou])ill(?:es?$)?", "ij"),
        # Nasal vowels: not before a vowel, h or a second n or m
        (r"(?<=[iéy])en(?=s?$)", "I"),
        (rf"oin(?![{_VOWEL}nmh])", "UI"),
        (rf"(?:ai|ei|[iîïyu])[nm](?![{_VOWEL}nmh])", "I"),
        (rf"(?:aon|[aâe][nm])(?![{_VOWEL}nmh])", "A"),
        (r"emm(?=[ea]n)", "Am"),
        (rf"o[nm](?![{_VOWEL}nmh])", "O"),
        # Groups of vowels
        (r"eaux?$|eau|au[xt]?$|au|ôts?$|ot[s]?$|os$", "o"),
        (r"oeu|eû|eux?$|eu", "@"),
        (rf"ay(?=[{_VOWEL}])", "ej"),
        (rf"oy(?=[{_VOWEL}])", "Uaj"),
        (rf"uy(?=[{_VOWEL}])", "Yij"),
        (r"a[iîy]|e[iîy]", "e"),
        (r"o[iîy]", "Ua"),
        (r"o[uùû]", "U"),
        # Consonants whose sound depends on their neighbours
        (r"(?<=s)ti(?=on|e)", "tj"),
        (r"ti(?=on|el|eux|eus)", "sj"),
        (r"ch(?=[rnl])|(?<=psy)ch", "k"),
        (r"sch|sh|ch", "S"),
        (rf"cc(?=[{_FRONT}])", "ks"),
        (rf"sc(?=[{_FRONT}])", "s"),
        (rf"c(?=[{_FRONT}])|ç", "s"),
        (r"cqu|ck|qu|cc|[cqk]", "k"),
        (r"gn", "nj"),
        (rf"gu(?=[{_FRONT}])", "g"),
        (r"ge(?=[aoâô])", "Z"),
        (rf"g(?=[{_FRONT}])|j", "Z"),
        (r"ph", "f"),
        (r"th", "t"),
        (rf"(?<=^e)x(?=[{_VOWEL}])", "gz"),
        # Silent at the end of a word, alone or in company
        (r"(?:[dgpt]s|gts?|pts?|[dgstz]|(?<=[aoum])p|(?<=[uîi])x)$", ""),
        (r"(?<=m)p(?=t)", ""),
        (r"x", "ks"),
        (r"ss", "s"),
        (rf"(?<=[{_VOWEL}])s(?=[{_VOWEL}])", "z"),
        (r"w", "v"),
        # Single vowels
        (r"[iïîy](?=es?$)", "i"),
        (rf"[iïîy](?=[{_VOWEL}])", "j"),
        (r"[iïîy]", "i"),
        (r"[uùûü]", "Y"),
        (r"[oôö]", "o"),
        (r"[aàâä]", "a"),
        (r"[éèêë]", "e"),
        (rf"e(?=[lrmnsx][^{_VOWEL}]|[^{_VOWEL}][^{_VOWEL}lrh]|[^{_VOWEL}]$|([lrtnfc])\1|x)", "e"),
        (r"e", "@"),
        (r"(.)\1", r"\1"),
        (r".", r"\g<0>"),
    )
)


@functools.lru_cache(maxsize=65536)
def phonetic_keys(word: str) -> frozenset[str]:
    """How a French word may sound, coarsely; two where the spelling leaves it open.

    >>> phonetic_keys("manger") == phonetic_keys("mangé") == phonetic_keys("mangez")
    True
    >>> sorted(phonetic_keys("content"))
    ['kOt', 'kOtA']
    """
    word = unicodedata.normalize("NFC", word.lower()).replace("œ", "oe").replace("æ", "é")
    if "'" in word:
        return _joined([part for part in word.split("'") if part], elided=True)
    word = "".join(letter for letter in word if letter.isalnum())
    keys = {_sound(word)}
    if len(word) > 4 and re.search(r"[^a]ent$", word):
        verb = _sound(word[:-2])
        keys = {verb} if word.endswith("ssent") else keys | {verb}
    return frozenset(keys)


def are_homophones(reference: Sequence[str], hypothesis: Sequence[str]) -> bool:
    """Whether two stretches of words may sound the same, wherever their words end.

    >>> are_homophones(["ses"], ["ces"]), are_homophones(["la", "faso"], ["lafaso"]), are_homophones(["un"], ["on"])
    (True, True, False)
    """
    left, right = _joined(reference), _joined(hypothesis)
    return not left.isdisjoint(right) and "" not in left


def strip_accents(text: str) -> str:
    """The text without its combining marks.

    >>> strip_accents("à l'été")
    "a l'ete"
    """
    marks_apart = unicodedata.normalize("NFD", text)
    return unicodedata.normalize("NFC", "".join(c for c in marks_apart if not unicodedata.combining(c)))


_FAMILIES = tuple(
    frozenset(family.split())
    for family in (
        "le la les",
        "un une des",
        "du de des",
        "au aux",
        "ce cet cette ces",
        "mon ma mes",
        "ton ta tes",
        "son sa ses",
        "notre nos",
        "votre vos",
        "il ils elle elles",
        "lui leur leurs",
        "tout tous toute toutes",
        "est sont",
        "a ont",
        "sera seront",
        "était étaient",
        "fut furent",
        "fait font",
        "va vont",
        "peut peuvent",
        "doit doivent",
    )
)
_ENDINGS = (
    frozenset(("", "s", "x", "e", "es", "t", "nt", "ent", "le", "les", "ne", "nes", "te", "tes")),
    frozenset(("l", "le", "les", "ux")),
    frozenset(("f", "fs", "ve", "ves")),
    frozenset(("x", "se", "ses")),
)


def are_inflections(left: str, right: str) -> bool:
    """Whether two words are forms of one word that differ in number, gender or person.

    Determiners, pronouns and the commonest verbs by list, all others by their endings. Infinitive against participle
    (*-er*, *-é*) is no agreement; :func:`are_homophones` finds it.

    >>> are_inflections("croisait", "croisaient"), are_inflections("occidentales", "occidentaux")
    (True, True)
    >>> are_inflections("manger", "mangé"), are_inflections("ces", "ses")
    (False, False)
    """
    left, right = left.lower(), right.lower()
    if any(left in family and right in family for family in _FAMILIES):
        return left != right
    left, right = strip_accents(left), strip_accents(right)
    shared = _shared_prefix(left, right)
    if shared < 3 or left == right:
        return False
    endings = {left[shared:], right[shared:]}
    return any(endings <= known for known in _ENDINGS)


_CLITIC = re.compile(r"^(?:[cdjlmnst]|qu|jusqu|lorsqu|puisqu|quoiqu)'(?=.)")
_WRITTEN_OUT = re.compile(r"\b([cdjlmnst]|qu|jusqu|lorsqu|puisqu|quoiqu)(?:[ea] |' ?| )(?=[aeiouyhàâéèêëîïôùûœ])")


def differ_by_elision(reference: str, hypothesis: str) -> bool:
    """Whether two texts differ only in an elided little word: gained, lost, written out, or without its apostrophe.

    >>> differ_by_elision("l'europe", "europe"), differ_by_elision("que il", "qu'il"), differ_by_elision("jai", "j'ai")
    (True, True, True)
    """
    if reference == hypothesis or not (reference and hypothesis):
        return False
    if "'" in reference + hypothesis and _letters(reference) == _letters(hypothesis):
        return True
    left, right = (_CLITIC.sub("", text) for text in (reference, hypothesis))
    return left == right or _WRITTEN_OUT.sub(r"\1'", reference) == _WRITTEN_OUT.sub(r"\1'", hypothesis)


def _letters(text: str) -> str:
    return "".join(letter for letter in text if letter.isalnum())


def _shared_prefix(left: str, right: str) -> int:
    return next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))


def _joined(words: Sequence[str], *, elided: bool = False) -> frozenset[str]:
    last = len(words) - 1
    keys = [
        # What stands before an apostrophe is a bare consonant, not a word whose end is silent.
        frozenset((_ELIDED.get(word, word),)) if elided and index < last and len(word) <= 2 else phonetic_keys(word)
        for index, word in enumerate(words)
    ]
    return frozenset("".join(key) for key in itertools.islice(itertools.product(*keys), _MAX_READINGS))


_ELIDED = {"c": "s", "j": "Z", "qu": "k"}


def _sound(word: str) -> str:
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word in _SOUNDED_ER or word.removesuffix("s") in _SOUNDED_ER:
        return _sound(word.removesuffix("s")[:-2] + "èr")
    if word in _LETTERS:
        return _LETTERS[word]
    if len(word) == 2 and word[1] == "e":
        # The schwa of "le" is not the eu of "deux", which is @.
        return {"c": "s", "j": "Z"}.get(word[0], word[0]) + "°"
    return _convert(word)


_LETTERS = dict(
    b="be", c="se", d="de", f="ef", g="Ze", h="aS", j="Zi", k="ka", l="el", m="em", n="en", p="pe", q="kY", r="er",
    s="es", t="te", u="Y", v="ve", x="iks", z="zed",
)  # fmt: skip


def _convert(word: str) -> str:
    sounds: list[str] = []
    position = 0
    while position < len(word):
        for pattern, sound in _RULES:
            match = pattern.match(word, position)
            if match and match.end() > position:
                sounds.append(match.expand(sound))
                position = match.end()
                break
    key = "".join(sounds)
    # A schwa inside a word is spoken or not, as one likes; the only vowel of a word is spoken.
    without = re.sub(r"(?<=[bdfgjklmnprstvzSZ])@(?=[bdfgjklmnprstvzSZ])", "", key) if "eu" not in word else key
    return re.sub(r"(.)\1", r"\1", without) if re.search(r"[aeioUYAIO@]", without) else key or word
