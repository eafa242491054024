import pytest

from asr_headroom.text.detect import foreign_language, guess_language, has_content, script_counts, scripts_of_language

# The first article of the Universal Declaration of Human Rights.
ARTICLE = {
    "en": "All human beings are born free and equal in dignity and rights. They are endowed with reason and conscience "
    "and should act towards one another in a spirit of brotherhood.",
    "fr": "Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués de raison et de "
    "conscience et doivent agir les uns envers les autres dans un esprit de fraternité.",
    "de": "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft und Gewissen begabt "
    "und sollen einander im Geist der Brüderlichkeit begegnen.",
    "es": "Todos los seres humanos nacen libres e iguales en dignidad y derechos y, dotados como están de razón y "
    "conciencia, deben comportarse fraternalmente los unos con los otros.",
    "it": "Tutti gli esseri umani nascono liberi ed eguali in dignità e diritti. Essi sono dotati di ragione e di "
    "coscienza e devono agire gli uni verso gli altri in spirito di fratellanza.",
    "pt": "Todos os seres humanos nascem livres e iguais em dignidade e em direitos. Dotados de razão e de "
    "consciência, devem agir uns para com os outros em espírito de fraternidade.",
    "nl": "Alle mensen worden vrij en gelijk in waardigheid en rechten geboren. Zij zijn begiftigd met verstand en "
    "geweten, en behoren zich jegens elkander in een geest van broederschap te gedragen.",
    "pl": "Wszyscy ludzie rodzą się wolni i równi w swojej godności i w swoich prawach. Są oni obdarzeni rozumem i "
    "sumieniem i powinni postępować wobec innych w duchu braterstwa.",
    "ru": "Все люди рождаются свободными и равными в своём достоинстве и правах. Они наделены разумом и совестью и "
    "должны поступать в отношении друг друга в духе братства.",
    "ar": "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق وقد وهبوا "
    "عقلا وضميرا وعليهم أن يعامل بعضهم بعضا بروح من الإخاء",
    "zh": "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。",
    "ja": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "ko": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
    "hi": "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।",
    "th": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
    "el": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.",
}


@pytest.mark.parametrize("language", sorted(ARTICLE))
def test_one_article_in_many_languages(language):
    assert guess_language([ARTICLE[language]]) == language


@pytest.mark.parametrize("language", ["en", "fr", "de", "es", "it", "pt", "nl", "pl"])
def test_no_article_is_foreign_to_itself_and_each_is_to_another(language):
    assert foreign_language(ARTICLE[language], language) is None
    assert foreign_language(ARTICLE[language], "fi") == language


@pytest.mark.parametrize("texts", [[], [""], ["12 %"], ["abc def ghi"], ["…"]])
def test_thin_evidence_is_no_guess(texts):
    assert guess_language(texts) is None


def test_small_things():
    assert script_counts("Ａbc é 中文, かな 한 7!") == {"LATIN": 4, "CJK": 2, "HIRAGANA": 2, "HANGUL": 1}
    assert scripts_of_language("zh-TW") == {"CJK"}
    assert scripts_of_language("tlh") == set()
    assert has_content("?") is has_content("") is False
    assert has_content("é") is has_content("７") is has_content("中") is True
    assert foreign_language("this is the house and they are in it", "xx") is None


@pytest.mark.parametrize("text", ["non", "the", "is a", "on", "de la"])
def test_a_word_or_two_are_too_few_to_guess_from(text):
    assert guess_language([text]) is None
