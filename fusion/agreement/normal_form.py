"""The form in which two short answers are equal exactly when they say the same.

Only what cannot change the meaning is folded: `1,000` is `1000.0`, `5 kilometres` is `5 km`, `(b)` is `Answer: B`.
Where it might, answers stay apart, for that costs one judge model's call and a false agreement costs the answer: `-4`
is not `4`, `5 mW` is not `5 MW`, `1,5` is neither `15` nor `1.5`, `3.10` is not `3.1`, `5!` is not `5`, and no word is
left out.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Literal

from fusion.text.json_text import canonical_as_written, fenced_block
from fusion.text.similarity import SHORT_WORDS

Kind = Literal["number", "option", "text", "json", "code"]


MAX_LITERAL_CHARS = 20_000
"""Maximum length of JSON or code that is compared."""


_MAX_SHORT_CHARS = 400


_LEAD = re.compile(
    r"(?:####|(?:the |my )?(?:final |correct |right )?(?:answer|option|choice)(?: is)?\s*:|"
    r"(?:the |my )?(?:final |correct |right )?answer is|so,? the (?:final )?answer is)\s*",
    re.IGNORECASE,
)


_WRAPPINGS = (("**", "**"), ("__", "__"), ("`", "`"), ("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"))


_QUOTES = (('"', '"'), ("'", "'"), ("\N{LEFT DOUBLE QUOTATION MARK}", "\N{RIGHT DOUBLE QUOTATION MARK}"))


_BOXED = re.compile(r"\\boxed\{([^{}]*)\}")


_OPTION = re.compile(r"(?:(?:option|choice)\s+)?(?:\(([A-Ha-h])\)|\[([A-Ha-h])\]|([A-Ha-h])\)?)", re.IGNORECASE)


_PLAIN = r"(?:0|[1-9]\d*)"


_GROUPED = r"[1-9]\d{0,2}(?:,\d{3})+"


_FIGURES = rf"(?:{_GROUPED}|{_PLAIN})(?:\.\d+)?|\.\d+"


_QUANTITY = re.compile(rf"([-+]?)\s?([$€£¥]?)({_FIGURES})\s?([^\W\d_]+|[%°µμ$€£¥][^\W\d_]*)?")


_TOKEN = re.compile(r"(?:(?<![\w)\]}])[-+])?(?:\d+(?:[.,]\d+)*|\.\d+)(?![\w.,]*\w)|\w+|\S")


_GROUPED_NUMBER = re.compile(rf"[-+]?{_GROUPED}(?:\.\d+)?")


_THIN_SPACES = re.compile(r"(?<=\d)[\u00a0\u2009\u202f](?=\d{3}(?!\d))")


# Symbols are told apart by case, their names are not. A unit's factor turns it into the first of its dimension; only
# factors that are exact are here.
_UNITS: dict[str, tuple[str, str]] = {
    symbol: (base, factor)
    for base, symbols in (
        ("m", {"m": "1", "km": "1000", "cm": "0.01", "mm": "0.001", "µm": "0.000001"}),
        ("g", {"g": "1", "kg": "1000", "mg": "0.001", "t": "1000000"}),
        ("s", {"s": "1", "ms": "0.001", "min": "60", "h": "3600"}),
        ("L", {"L": "1", "l": "1", "mL": "0.001", "ml": "0.001"}),
        *((symbol, {symbol: "1"}) for symbol in "%$€£¥"),
    )
    for symbol, factor in symbols.items()
}


_NAMES: dict[str, str] = {
    **dict.fromkeys(("metre", "metres", "meter", "meters"), "m"),
    **dict.fromkeys(("kilometre", "kilometres", "kilometer", "kilometers"), "km"),
    **dict.fromkeys(("centimetre", "centimetres", "centimeter", "centimeters"), "cm"),
    **dict.fromkeys(("millimetre", "millimetres", "millimeter", "millimeters"), "mm"),
    **dict.fromkeys(("gram", "grams"), "g"),
    **dict.fromkeys(("kilogram", "kilograms"), "kg"),
    **dict.fromkeys(("milligram", "milligrams"), "mg"),
    **dict.fromkeys(("second", "seconds", "sec"), "s"),
    **dict.fromkeys(("millisecond", "milliseconds"), "ms"),
    **dict.fromkeys(("minute", "minutes"), "min"),
    **dict.fromkeys(("hour", "hours"), "h"),
    **dict.fromkeys(("litre", "litres", "liter", "liters"), "L"),
    **dict.fromkeys(("millilitre", "millilitres", "milliliter", "milliliters"), "mL"),
    **dict.fromkeys(("percent",), "%"),
    **dict.fromkeys(("dollar", "dollars"), "$"),
    **dict.fromkeys(("euro", "euros"), "€"),
}


@dataclass(frozen=True, slots=True)
class NormalForm:
    """What an answer says: equal forms say the same."""

    kind: Kind
    key: str


def normal_form(text: str) -> NormalForm | None:
    """The normal form of a short answer, of JSON or of code; None for longer text, and for an empty one."""
    if len(text) <= MAX_LITERAL_CHARS:
        if block := fenced_block(text):
            language, content = block
            if language in ("", "json") and (key := canonical_as_written(content)) is not None:
                return NormalForm("json", key)
            return NormalForm("code", f"{language}\n{_code_key(content)}")
        if text.strip()[:1] in ("{", "[") and (key := canonical_as_written(text)) is not None:
            return NormalForm("json", key)
    if len(text) > _MAX_SHORT_CHARS:
        return None
    unwrapped = _unwrapped(unicodedata.normalize("NFC", text))
    if not unwrapped:
        return None
    if option := _OPTION.fullmatch(unwrapped):
        return NormalForm("option", (option[1] or option[2] or option[3]).upper())
    if quantity := _QUANTITY.fullmatch(unwrapped):
        return NormalForm("number", _quantity(quantity))
    if len(re.findall(r"\w+", unwrapped)) > SHORT_WORDS:
        return None
    return NormalForm("text", " ".join(_tokens(unwrapped)))


def _unwrapped(text: str) -> str:
    """The answer without what introduces it, emphasis around all of it, and the full stop."""
    text = _THIN_SPACES.sub("", text).replace("\N{MINUS SIGN}", "-").strip()
    while True:
        before = text
        text = _LEAD.sub("", text, count=1) if _LEAD.match(text) else text
        if boxed := _BOXED.fullmatch(text):
            text = boxed[1]
        if text.endswith(".") and not text.endswith(".."):
            text = text[:-1]
        for opening, closing in (*_WRAPPINGS, *_QUOTES):
            inner = text[len(opening) : -len(closing)]
            wrapped = len(text) > len(opening) + len(closing) and text == f"{opening}{inner}{closing}"
            if wrapped and opening not in inner and closing not in inner:
                text = inner
        text = text.strip()
        if text == before:
            return text


def _quantity(match: re.Match[str]) -> str:
    """A number alone or with its unit: `-1000|m`. Trailing zeros say nothing where there is a unit; without one only
    whole numbers lose theirs, for `3.10` may be a version."""
    sign, currency, figures, unit = match.groups()
    figures = figures.replace(",", "")
    figures = f"0{figures}" if figures.startswith(".") else figures
    sign = "-" if sign == "-" and figures.strip("0.") else ""
    if not currency and unit is None:
        whole, _, fraction = figures.partition(".")
        return f"{sign}{whole if not fraction.strip('0') else figures}"
    if currency and unit is not None:
        return f"{sign}{currency}{figures} {unit}"
    known = _UNITS.get(_NAMES.get((unit or currency).casefold(), unit or currency))
    base, factor = known or (unit or currency, "1")
    with localcontext() as context:
        context.prec = len(figures) + 20
        amount = format(Decimal(figures) * Decimal(factor), "f")
    amount = amount.rstrip("0").rstrip(".") if "." in amount else amount
    return f"{sign}{amount}|{base}"


def _tokens(text: str) -> list[str]:
    """Words, numbers and single signs. Nothing is left out but white space; case is folded in words whose case says
    nothing: those of three letters or more, and a capital at the beginning of one of two. What follows a number may be
    a unit and keeps its case, unless it is one's full name."""
    tokens: list[str] = []
    after_number = False
    token: str
    for token in _TOKEN.findall(text):
        if token[0].isdigit() or (len(token) > 1 and token[0] in "+-."):
            token = token.replace(",", "") if _GROUPED_NUMBER.fullmatch(token) else token
            after_number = True
        else:
            if after_number:
                token = _NAMES.get(token.casefold(), token)
            elif len(token) > 2 or (len(token) == 2 and token[1:].islower()):
                token = token.casefold()
            after_number = False
        tokens.append(token)
    return tokens


def _code_key(code: str) -> str:
    """Code without white space at the ends of its lines and without empty lines around it. Indentation counts."""
    return "\n".join(line.rstrip() for line in code.split("\n")).strip("\n")
