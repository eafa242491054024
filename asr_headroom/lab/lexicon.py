"""Small generative grammars of French, Mandarin and English, as functions of a random generator.

Sentences are lower-case and unpunctuated, so that an error is never a question of format. A text belongs to
one split for good, by its hash: a sentence of the test split can never be met in training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from random import Random
from typing import Literal

from asr_headroom.errors import ConfigError, did_you_mean

__all__ = ["LANGUAGES", "Split", "make_sentence", "split_of_text"]

Split = Literal["train", "dev", "test"]

_HELD_OUT_PERCENT: dict[Split, int] = {"test": 15, "dev": 5}


def make_sentence(language: str, random: Random, split: Split | None = None) -> str:
    """A sentence of a language, of the given split if one is named.

    Raises:
        ConfigError: there is no grammar for the language.
    """
    if language not in _GRAMMARS:
        raise ConfigError(
            f"no grammar for language '{language}'{did_you_mean(language, _GRAMMARS)} "
            f"(there are: {', '.join(_GRAMMARS)})"
        )
    while True:
        text = _GRAMMARS[language](random)
        if split is None or split_of_text(text) == split:
            return text


def split_of_text(text: str) -> Split:
    """The only split that may hold this text: 80 % of all texts are train, 15 % test, 5 % dev."""
    percent = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % 100
    for split, share in _HELD_OUT_PERCENT.items():
        if percent < share:
            return split
        percent -= share
    return "train"


def _words(text: str) -> list[str]:
    return text.split()


def _phrases(text: str) -> list[str]:
    return text.split("/")


_FR_MASCULINE = _words(
    "chat chien garçon roi soldat médecin voisin cheval oiseau poisson train bateau vélo livre "
    "journal gâteau pain fromage café jardin marché village château pont arbre soleil vent nuage "
    "hiver jour matin couteau verre sac chapeau manteau bureau téléphone film musée"
)
_FR_FEMININE = _words(
    "fille femme reine maison voiture lettre pomme table chaise fenêtre porte rue ville forêt "
    "rivière montagne plage île route école église cuisine chambre lampe fleur feuille pluie "
    "neige lune étoile nuit semaine chanson photo robe bouteille tasse valise clé boîte"
)
_FR_BEFORE = [
    pair.split("/") for pair in _words("petit/petite grand/grande bon/bonne mauvais/mauvaise joli/jolie gros/grosse")
]
_FR_AFTER = [
    pair.split("/")
    for pair in _words(
        "rouge/rouge noir/noire blanc/blanche vert/verte bleu/bleue jaune/jaune triste/triste "
        "calme/calme rapide/rapide lourd/lourde léger/légère froid/froide chaud/chaude "
        "propre/propre vide/vide plein/pleine fragile/fragile étrange/étrange célèbre/célèbre "
        "magnifique/magnifique"
    )
]
_FR_VERBS = _words(
    "mange regarde cherche trouve porte achète vend prend donne oublie perd garde lave montre "
    "dessine prépare traverse visite ferme ouvre casse touche quitte attend entend"
)
_FR_NAMES = _words("marie paul julie antoine camille lucas sophie nicolas claire thomas isabelle hugo")
_FR_PREPOSITIONS = _words("dans sur sous devant derrière avec sans contre vers après")
_FR_ADVERBS = _words("souvent toujours parfois lentement vite encore rarement doucement")
_FR_TIMES = _phrases(
    "aujourd'hui/demain/hier soir/ce matin/chaque jour/cette nuit/en hiver/en été/le lundi/le samedi/à midi/plus tard"
)
_FR_NUMBERS = _words("deux trois quatre cinq six sept huit neuf dix onze douze quinze vingt trente cent")
_FR_VOWELS = "aeiouéèêhîyàâô"
_FR_PLURALS = [
    noun + ("x" if noun.endswith("eau") else "s")
    for noun in _FR_MASCULINE + _FR_FEMININE
    if noun[-1] not in "sx" and noun not in ("cheval", "journal")
]


def _elide(article: str, word: str) -> str:
    return f"{article[:-1]}'{word}" if word[0] in _FR_VOWELS else f"{article} {word}"


def _french_noun_phrase(random: Random, adjectives: bool = True) -> str:
    masculine = random.random() < 0.5
    gender = 0 if masculine else 1
    noun = random.choice(_FR_MASCULINE if masculine else _FR_FEMININE)
    kind = random.random() if adjectives else 1.0
    head = f"{random.choice(_FR_BEFORE)[gender]} {noun}" if kind < 0.22 else noun
    tail = f" {random.choice(_FR_AFTER)[gender]}" if 0.22 <= kind < 0.45 else ""
    starts_with_vowel = head[0] in _FR_VOWELS
    kind = random.random()
    if kind < 0.5:
        return _elide("le" if masculine else "la", head) + tail
    if kind < 0.75:
        determiner = "un" if masculine else "une"
    elif kind < 0.88:
        determiner = "mon" if masculine or starts_with_vowel else "ma"
    elif masculine:
        determiner = "cet" if starts_with_vowel else "ce"
    else:
        determiner = "cette"
    return f"{determiner} {head}{tail}"


def _french_subject(random: Random) -> str:
    kind = random.random()
    if kind < 0.25:
        return random.choice(_FR_NAMES)
    return random.choice(("il", "elle", "on")) if kind < 0.4 else _french_noun_phrase(random)


def _french_place(random: Random) -> str:
    return f"{random.choice(_FR_PREPOSITIONS)} {_french_noun_phrase(random, adjectives=random.random() < 0.4)}"


def _french(random: Random) -> str:
    kind = random.random()
    clause = f"{_french_subject(random)} {random.choice(_FR_VERBS)}"
    thing = _french_noun_phrase(random)
    if kind < 0.25:
        return f"{clause} {thing}"
    if kind < 0.45:
        return f"{clause} {thing} {_french_place(random)}"
    if kind < 0.58:
        return f"{random.choice(_FR_TIMES)} {clause} {thing}"
    if kind < 0.68:
        return f"{clause} {random.choice(_FR_ADVERBS)} {thing}"
    if kind < 0.76:
        gender = random.randrange(2)
        noun = _elide(("le", "la")[gender], random.choice((_FR_MASCULINE, _FR_FEMININE)[gender]))
        return f"{noun} est {random.choice(('très ', 'trop ', 'assez ', ''))}{random.choice(_FR_AFTER)[gender]}"
    if kind < 0.84:
        return f"il y a {random.choice(_FR_NUMBERS)} {random.choice(_FR_PLURALS)} {_french_place(random)}"
    if kind < 0.92:
        return f"{clause} {thing} et {random.choice(_FR_VERBS)} {_french_noun_phrase(random, adjectives=False)}"
    return f"est ce que {clause} {thing}"


_ZH_SUBJECTS = _words("我 你 他 我们 你们 他们 老师 学生 医生 爸爸 妈妈 朋友 哥哥 妹妹 小王 老李 司机 孩子")
_ZH_TIMES = _words("今天 明天 昨天 早上 晚上 中午 现在 星期一 星期六 去年 每天 下午")
_ZH_PLACES = _words("学校 家 北京 上海 医院 公园 商店 火车站 图书馆 饭店 机场 城市 海边 山上")
_ZH_VERBS = _words("买 卖 看 找 吃 拿 喜欢 需要 忘记 带 洗 画 送 用")
_ZH_NOUNS = [
    pair.split("/")
    for pair in _words(
        "本/书 杯/茶 个/苹果 条/鱼 张/地图 辆/汽车 件/衣服 只/猫 只/狗 把/椅子 "
        "杯/咖啡 碗/米饭 个/电话 张/桌子 朵/花 匹/马 封/信 瓶/水 份/报纸 座/桥"
    )
]
_ZH_NUMBERS = _words("一 两 三 四 五 六 七 八 九 十")
_ZH_ADJECTIVES = _words("红色的 白色的 大 小 新 旧 漂亮的 便宜的 黑色的 奇怪的")
_ZH_ADVERBS = _words("常常 也 不 都 一定 可能 还 马上")
_ZH_STATES = _words("很高兴 很忙 非常累 很冷 太贵 不远 很有名 非常漂亮 很安静 太热")


def _mandarin_noun_phrase(random: Random) -> str:
    classifier, noun = random.choice(_ZH_NOUNS)
    kind = random.random()
    if kind < 0.45:
        return random.choice(_ZH_NUMBERS) + classifier + noun
    if kind < 0.65:
        return random.choice("这那") + classifier + noun
    if kind < 0.85:
        return random.choice(_ZH_ADJECTIVES) + noun
    return random.choice("我你他") + "的" + noun


def _mandarin(random: Random) -> str:
    kind = random.random()
    subject, verb, thing = (
        random.choice(_ZH_SUBJECTS),
        random.choice(_ZH_VERBS),
        _mandarin_noun_phrase(random),
    )
    if kind < 0.22:
        return f"{subject}{verb}{thing}"
    if kind < 0.42:
        return f"{random.choice(_ZH_TIMES)}{subject}{verb}{thing}"
    if kind < 0.6:
        return f"{subject}在{random.choice(_ZH_PLACES)}{verb}{thing}"
    if kind < 0.72:
        return f"{subject}{random.choice(_ZH_ADVERBS)}{verb}{thing}"
    if kind < 0.86:
        return f"{random.choice(_ZH_TIMES)}{subject}去{random.choice(_ZH_PLACES)}{verb}{thing}"
    if kind < 0.93:
        return f"{random.choice(_ZH_TIMES)}{random.choice(_ZH_PLACES)}{random.choice(_ZH_STATES)}"
    return f"{subject}{random.choice(_ZH_TIMES)}{random.choice(_ZH_STATES)}"


_EN_SUBJECTS = _phrases(
    "i/you/we/they/the teacher/my brother/your sister/the doctor/our friends/the children/a student/the old man"
)
_EN_VERBS = _words("see want buy sell find take need like carry draw wash remember")
_EN_THINGS = _words(
    "book cup apple fish map car shirt cat dog chair phone table flower horse letter bottle newspaper bridge"
)
_EN_ADJECTIVES = _words("red white big small new old pretty cheap black strange")
_EN_PLACES = _phrases(
    "at school/at home/in the park/in the city/at the station/near the river/on the beach/in the kitchen"
)
_EN_TIMES = _phrases("today/tomorrow/every morning/on monday/at noon/in the evening/this week/right now")


def _english(random: Random) -> str:
    modal = random.choice(("will", "can", "must", "may", "should"))
    determiner = random.choice(("the", "my", "this", "that", "your", "one"))
    adjective = f"{random.choice(_EN_ADJECTIVES)} " if random.random() < 0.5 else ""
    clause = (
        f"{random.choice(_EN_SUBJECTS)} {modal} {random.choice(_EN_VERBS)} {determiner} {adjective}"
        f"{random.choice(_EN_THINGS)}"
    )
    kind = random.random()
    if kind < 0.35:
        return clause
    if kind < 0.7:
        return f"{clause} {random.choice(_EN_PLACES)}"
    return f"{clause} {random.choice(_EN_TIMES)}"


_GRAMMARS: dict[str, Callable[[Random], str]] = {"fr": _french, "zh": _mandarin, "en": _english}

LANGUAGES = tuple(_GRAMMARS)
"""The languages that have a grammar, as BCP-47 tags."""
