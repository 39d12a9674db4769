"""The words that say when something happens, in the languages that models answer in.

A word of English, or of a script that a language has to itself, always counts. Of a language in Latin letters, the
*sure* words always count (`hasta`, `zwischen`, `secondes`); the *shared* ones mean something else in English or
elsewhere (`a`, `de`, `die`) and count only where a sure word, or two shared ones around the times, prove the language.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

START, END, CUE, BETWEEN, LINK, FILLER = "start", "end", "cue", "between", "link", "filler"
AND, OR = "and", "or"
NEUTRAL, UNIT, FIELD, UNKNOWN = "neutral", "unit", "field", "unknown"

FOREIGN = 0.0
"""The scale of units that are no time: a share of the video, a frame number."""

SPACELESS = r"\u0900-\u097f\u0e00-\u0e7f\u3005-\u30ff\u3400-\u9fff\uac00-\ud7af"
"""Scripts that write words without blanks, or endings onto numbers: a word is known by its letters alone."""
LETTER = rf"[^\W\d_{SPACELESS}]"


def _split(table: dict[float, str]) -> dict[str, float]:
    return {unit: scale for scale, units in table.items() for unit in units.split()}


UNIT_SCALES = _split(
    {
        1.0: "s sec secs second seconds sek sekunde sekunden seconde secondes segundo segundos secondo secondi"
        " seconden sekund sekundy sekunda sekundzie giây detik saniye"
        " с сек секунда секунды секунд секунду секунде секунди ثانية الثانية ثوان ثواني",
        60.0: "m min mins minute minutes minuten minuto minutos minuti minuut phút menit dakika"
        " мин минута минуты минут минуту минуте دقيقة الدقيقة دقائق",
        3600.0: "h hr hrs hour hours std stunde stunden heure heures hora horas час часа часов",
        0.001: "ms msec msecs millisecond milliseconds",
        FOREIGN: "% percent fps frame frames кадр кадры кадра",
    }
)
SPACELESS_UNITS = _split(
    {
        1.0: "秒 秒钟 秒鐘 秒間 초 초간 सेकंड सेकेंड सेकण्ड วินาที",
        60.0: "分 分钟 分鐘 分間 분 분간 मिनट นาที",
        3600.0: "小时 小時 時間 시간",
        FOREIGN: "帧 幀 フレーム 프레임",
    }
)
"""Units only right behind a number: elsewhere `時間` is "time", not "hours"."""
COUNTED = "people persons men women children kids times years yrs steps meters metres feet points pieces items"
"""What is counted or measured by the number before it, which then is no time: `3 to 5 people`."""

_ALWAYS: dict[str, str] = {
    # English
    LINK: "to through thru",
    START: "from since start starts started starting starttime begin begins began beginning commence commences"
    " commenced commencing beg tstart",
    END: "until till end ends ended ending endtime finish finishes finished finishing stop stops stopped stopping tend"
    " conclude concludes concluded concluding",
    CUE: "in at after during is within happens happen occurs answer span",
    BETWEEN: "between",
    AND: "and then again also",
    OR: "or или 或 或者 또는 혹은 もしくは または",
    FILLER: "the a about around approximately approx roughly mark time timestamp it on next up all way"
    " continues continuing extends extending maybe perhaps possibly",
    FIELD: "score scores confidence conf prob probability likelihood certainty relevance saliency similarity logit"
    " weight duration length lasting id idx index rank count iou"
    " dauer durée duración duração durata длительность konfidenz confiance confianza confiança confidenza уверенность"
    " продолжительность 置信度 得分 评分 分数 信頼度 スコア 신뢰도 점수",
}
_OWN_SCRIPT: dict[str, str] = {
    LINK: "到 至 直到 から より 부터 에서 до по إلى الى حتى से ถึง",
    START: "从 從 开始 開始 始ま 起始 시작 начало начала начинается начинаются начался началось старт เริ่ม จาก",
    END: "结束 結束 終了 終わ 终止 終止 停止 截止 종료 끝"
    " конец финиш окончание окончания завершается заканчивается заканчиваются закончился закончилось",
    CUE: "在 于 於 为 為 是 时 時 的 에 는 은 の は が に で с со от в на из з від من في में",
    BETWEEN: "между між بين",
    AND: "和 与 與 跟 及 と 와 과 해서 하여 하고 и و और และ",
    FILLER: "第 大约 大約 约 約 大概 およそ 약 примерно около приблизительно й я ю ей ой время تقريبا",
    NEUTRAL: "左右 之间 之間 间 間 处 處 时间 時間 시간 시각 时刻 時刻 持续 持續 まで 頃 ごろ 사이 까지 정도 쯤 지점"
    " 時点 時點 あたり 辺り 目 くらい ぐらい 동안 तक के बीच",
}
_LATIN: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    # language: (sure words, shared words)
    "de": (
        {
            LINK: "bis",
            BETWEEN: "zwischen",
            START: "beginn beginnt begann anfang startet startzeit",
            END: "endet endete ende endzeit",
            AND: "und",
            FILLER: "ungefähr circa etwa",
        },
        {START: "von ab vom", CUE: "bei", FILLER: "der die das zur zum ca uhr", OR: "oder"},
    ),
    "fr": (
        {
            LINK: "à jusqu",
            BETWEEN: "entre",
            START: "début débute depuis",
            END: "termine finit achève",
            FILLER: "environ",
        },
        {CUE: "de du dès", LINK: "au a", AND: "et", END: "fin", OR: "ou", FILLER: "la le les l d vers"},
    ),
    "es": (
        {
            LINK: "hasta",
            BETWEEN: "entre",
            START: "desde inicio comienza empieza inicia",
            END: "termina finaliza acaba",
            FILLER: "aproximadamente",
        },
        {CUE: "de del", LINK: "a al", AND: "y", END: "fin final", OR: "o", FILLER: "el los la las unos"},
    ),
    "it": (
        {START: "inizia inizio comincia", END: "finisce termina", LINK: "fino"},
        {
            BETWEEN: "tra fra",
            CUE: "da dal dai dalle",
            LINK: "a al ai alle",
            AND: "e",
            END: "fine",
            OR: "o",
            FILLER: "il i circa",
        },
    ),
    "pt": (
        {
            LINK: "até",
            BETWEEN: "entre",
            START: "começa início inicia",
            END: "termina acaba fim",
            FILLER: "aproximadamente",
        },
        {CUE: "de do dos das desde", LINK: "a ao aos às", AND: "e", OR: "ou", FILLER: "o os as cerca"},
    ),
    "nl": (
        {BETWEEN: "tussen", START: "begint", END: "eindigt"},
        {CUE: "van vanaf", LINK: "tot", AND: "en", FILLER: "de het ongeveer"},
    ),
    "pl": ({}, {CUE: "od", LINK: "do", BETWEEN: "między", AND: "i", FILLER: "około"}),
    "vi": ({LINK: "đến", CUE: "từ"}, {FILLER: "khoảng"}),
    "id": ({LINK: "hingga sampai", CUE: "dari"}, {FILLER: "sekitar"}),
    "audio": ({START: "onset"}, {END: "offset"}),  # not a language, but a pair of words like one
    "tr": ({LINK: "saniyeden", FILLER: "saniyeye"}, {AND: "ile", FILLER: "kadar arası arasında"}),
}
_LATIN_UNITS = {
    "de": "sek sekunde sekunden",
    "fr": "seconde secondes",
    "es": "segundo segundos minuto minutos",
    "it": "secondo secondi minuto minuti",
    "pt": "segundo segundos minuto minutos",
    "nl": "seconden",
    "pl": "sekund sekundy sekunda sekundzie",
    "vi": "giây",
    "id": "detik",
    "tr": "saniye",
    "audio": "",
}


def _list_roles(table: dict[str, str]) -> dict[str, str]:
    return {word: role for role, words in table.items() for word in words.split()}


_COMMON = dict.fromkeys(UNIT_SCALES, UNIT) | _list_roles(_ALWAYS) | _list_roles(_OWN_SCRIPT)
for _sure, _ in _LATIN.values():
    _COMMON |= _list_roles(_sure)
_SHARED = {language: _list_roles(shared) for language, (_, shared) in _LATIN.items()}
_PROOF = {
    language: frozenset(_list_roles(sure)) | frozenset(_LATIN_UNITS[language].split())
    for language, (sure, _) in _LATIN.items()
}
SPACELESS_WORDS = sorted((word for word in _COMMON if re.match(rf"[{SPACELESS}]", word)), key=len, reverse=True)
"""Longest first, as a regular expression tries them."""
_VARIABLES = {"s": START, "st": START, "ts": START, "e": END, "ed": END, "et": END, "te": END, "to": END}
_VARIABLES |= {"t_s": START, "t_e": END}
"""Before a colon or an equals sign only: `{"s": 4, "e": 9}`."""
LABELLED_THINGS = frozenset(["of", "event", "action", "point", "moment"])
"""What starts or ends, between the label and its time: `start of the event 4.0`."""
FROM_WORDS = frozenset(["from", "since", "von", "vom", "ab", "desde", "depuis", "从", "從"])
"""What comes before a whole span too: `from 4 - 9`."""
LENGTH_WORDS = frozenset(["long", "later", "afterwards", "동안", "秒間", "分間", "초간", "분간"])
"""Behind a time, or its unit: it is a length and no point, `5 seconds later`, `10秒間`."""
VIDEO_WORDS = frozenset(["video", "clip", "film", "footage", "recording"])


def detect_languages(words: Collection[str], around_times: Iterable[tuple[str, str]]) -> list[str]:
    """The languages in Latin letters, but English, that an answer gives proof of.

    Args:
        words: all words of the answer.
        around_times: of neighbouring times, the word right before the first and a word between the two.
    """
    found = {language for language, proof in _PROOF.items() if not proof.isdisjoint(words)}
    for before, between in around_times:
        for language, shared in _SHARED.items():
            if shared.get(before) in (START, CUE, BETWEEN) and shared.get(between) in (LINK, AND):
                found.add(language)
    return [language for language in _SHARED if language in found]


def find_word_role(word: str, languages: Iterable[str], *, names_value: bool) -> tuple[str, float | None]:
    """A word's part in naming a span, and the unit that it gives to the number behind it.

    `start_time` and `t_end` take the part of the piece that has one; `start_score` and `end_conf` are other fields.

    Args:
        word: in lower case.
        languages: as `detect_languages` gives them.
        names_value: whether a colon or an equals sign follows.
    """
    if names_value and word in _VARIABLES:
        return _VARIABLES[word], None
    for language in languages:
        if word in _SHARED[language]:
            return _SHARED[language][word], None
    if word in _COMMON:
        # A single letter is a unit behind a number only.
        return _COMMON[word], UNIT_SCALES.get(word) if len(word) > 1 else None
    pieces = [piece for piece in word.split("_") if piece]
    roles = [_COMMON.get(piece, UNKNOWN) for piece in pieces]
    role = next((role for role in roles if role in (START, END)), UNKNOWN)
    if len(pieces) < 2 or role == UNKNOWN:
        return UNKNOWN, None
    scale = next((UNIT_SCALES[piece] for piece in pieces if piece in UNIT_SCALES), None)
    return (FIELD if FIELD in roles else role), scale
