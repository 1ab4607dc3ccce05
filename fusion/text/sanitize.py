"""Text that others wrote, made fit to be shown to a model that decides about it.

A candidate that speaks to the judge must gain nothing by it. What only a machine reads (invisible characters, hidden
markup) is left out; what a model's template or our own prompt would take for structure is broken up; and each line that
is judged carries a mark, so that no line of it can pass for one of ours (datamarking, arXiv 2403.14720). None of this
touches an answer itself: it is about what a judge model sees.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import get_args

from fusion.results import Suspicion
from fusion.text.scanner import spans

SUSPICIONS: tuple[Suspicion, ...] = get_args(Suspicion)


MARK = "| "
"""What each line of a judged answer begins with."""


# Control and format characters that show nothing, and turn or hide what they stand beside: C0 and C1 controls, soft
# hyphen, fillers, zero-width characters, bidirectional marks, tags, and the variation selectors that no writing needs.
_JOINERS = "\u200c\u200d"


_INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
    # Joiners belong between letters of some writings and within emoji, selectors once after a character.
    f"|[{_JOINERS}](?=[\x00-\x7f{_JOINERS}]|$)|(?<=[\x00-\x7f])[{_JOINERS}]|(?<=[\ufe00-\ufe0f])[\ufe00-\ufe0f]"
)


_LINE_ENDS = re.compile(r"\r\n?|[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")


_TEMPLATE_TOKEN = re.compile(
    r"<(?=\|[^|<>\n]{1,40}\|>)"
    r"|<(?=\uff5c[^\uff5c<>\n]{1,40}\uff5c>)"
    r"|\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|IMG|PREFIX|SUFFIX|MIDDLE)\])"
    r"|<(?=/?(?:s|bos|eos|unk|pad|SYS|tool_call|tool_response|think|start_of_turn|end_of_turn|start_of_image"
    r"|fim_(?:prefix|middle|suffix)|end_of_text|begin_of_text)>)",
)


_SECTION = re.compile(r"<(?=/?\s{0,4}(?:answer\s{1,4}[A-Z]\b|conversation\b|analysis\b))", re.I)


_REFERENCE = re.compile(r"\[(?=\[[A-Z]\d{1,3}-[0-9a-f]{4,16}\]\])")


_HIDING_TAG = re.compile(
    r"<(?P<tag>[a-z]{1,12})\b[^<>]{0,200}?(?:display\s{0,4}:\s{0,4}none|visibility\s{0,4}:\s{0,4}hidden"
    r"|(?:font-size|opacity)\s{0,4}:\s{0,4}0(?![.\d]{0,8}[1-9])"
    r"|color\s{0,4}[:=]\s{0,4}[\"']?(?:white|transparent|#f{3,8})\b|[\s\"']hidden\b)[^<>]{0,200}>",
    re.I,
)


_HIDDEN = re.compile(
    r"^[ \t]{0,8}\[[^\]\n]{1,40}\]:[ \t]{0,4}(?:#|<>)[ \t]{0,4}[(\"'][^\n]{0,2000}$"
    r"|\\[hv]?phantom\{[^{}]{0,2000}\}",
    re.M,
)


_LABELLED = r"(?:[{\[]\s{0,8}){0,2}\\?[\"']?(?:answer\s)?[A-Z]\\?[\"']?\s{0,8}[:}\]\"',]"


_VERDICT = re.compile(
    rf"[\"'](?=(?:scores?|winner|verdict|best|label|candidate)\\?[\"']\s{{0,8}}:\s{{0,8}}{_LABELLED})"
    r"|[\"'](?=scores\\?[\"']\s{0,8}:\s{0,8}[\[{])"
    r"|[\"'](?=(?:answer\s)?[A-Z]\\?[\"']\s{0,8}:\s{0,8}(?:10|[0-9])(?:\.\d)?\s{0,8}[,}])",
    re.I,
)


@dataclass(frozen=True, slots=True)
class _Speech:
    """A way of speaking to a judge model. A text in which one of the sets of `needs` has no word is not searched, which
    is most of what a search would take."""

    needs: tuple[tuple[str, ...], ...]
    pattern: re.Pattern[str]

    def found_in(self, text: str, folded: str) -> bool:
        for words in self.needs:
            if not any(word in folded for word in words):
                return False
        return self.pattern.search(text) is not None


def _speech(pattern: str, *needs: str) -> _Speech:
    return _Speech(tuple(tuple(words.split("|")) for words in needs), re.compile(pattern, re.I | re.M))


_SPEECHES = (
    _speech(
        r"\b(?:ignore|disregard|forget|override)\b.{0,40}\b(?:previous|above|prior|earlier|all|other|your)\b"
        r".{0,40}\b(?:instruction|prompt|rule|answer|guideline|criteri|candidate|text)",
        "ignore|disregard|forget|override",
    ),
    _speech(
        r"\b(?:dear|attention|note to|notice to|hello|hey|to the|instructions? (?:to|for))\b.{0,20}"
        r"\b(?:judge|grader|evaluator|scorer|reviewer model|llm)\b"
        r"|\byou are (?:now )?(?:an? |the )?(?:impartial |fair )?(?:judge|grader|evaluator)\b",
        "judge|grader|evaluator|scorer|reviewer model|llm",
    ),
    _speech(
        r"\b(?:score|rate|rank|grade|mark)\b.{0,40}\b(?:this|my|answer|response|candidate|me|it)\b.{0,40}"
        r"\b(?:10|ten|highest|maximum|full|first|best|perfect|top)\b",
        "score|rate|rank|grade|mark",
        "10|ten|highest|maximum|full|first|best|perfect|top",
    ),
    _speech(
        r"\b(?:give|assign|award|deserves?|choose|select|pick|output)\b.{0,40}"
        r"\b(?:10\s?/\s?10|10 (?:points|out)|score of (?:10|ten)|(?:highest|perfect|maximum) score|full marks)\b",
        "10|score|full marks",
        "give|assign|award|deserve|choose|select|pick|output",
    ),
    _speech(
        r"\b(?:give|assign|award)\b.{0,20}\b(?:this|my|answer)\b.{0,30}\b(?:10|ten)\b",
        "give|assign|award",
        "10|ten",
    ),
    _speech(
        r"\b(?:choose|select|pick|prefer|vote for)\b.{0,20}\b(?:this|my) (?:answer|response|candidate)\b",
        "this |my ",
        "choose|select|pick|prefer|vote for",
    ),
    _speech(
        r"\b(?:all |the )?other (?:answers|responses|candidates)\b.{0,40}"
        r"\b(?:wrong|bad|0|zero|unsafe|harmful|ignore)\b",
        "other answers|other responses|other candidates",
    ),
    _speech(
        r"^\W{0,6}(?:system|assistant|user|human|developer|instruction|judge)s?(?: prompt| message| note)?\W{0,3}:",
        ":",
        "system|assistant|user|human|developer|instruction|judge",
    ),
)


_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n){2,}")


def disarmed(text: str) -> str:
    """The text without invisible characters, and with what a model's chat template or our own prompt would take for
    structure broken by a space: `<|im_end|>` becomes `< |im_end|>`."""
    if text.isascii() and not _CURIOUS.search(text):
        return text
    return _REFERENCE.sub("[ ", _SECTION.sub("< ", _TEMPLATE_TOKEN.sub(r"\g<0> ", _visible(text))))


def hides_something(text: str) -> bool:
    """Whether there are invisible characters in the text. A line may end in any of the common ways."""
    return _visible(text) != text.replace("\r\n", "\n")


def quoted(text: str) -> str:
    """The text as a judge model is shown it: disarmed, without what its reader would not see, with verdicts in it made
    no JSON, and every line marked as a line of the text."""
    shown = disarmed(_without_hidden(_visible(text)))
    shown = _VERDICT.sub("\N{RIGHT SINGLE QUOTATION MARK}", shown)
    shown = _BLANK_LINES.sub("\n\n", shown.strip("\n"))
    return "\n".join(f"{MARK}{line}" for line in shown.split("\n"))


def suspicions(text: str) -> tuple[Suspicion, ...]:
    """What about the text looks made for a judge model and not for a reader. A hint, and no proof: an answer may be
    about prompts."""
    visible = _visible(text)
    folded = visible.casefold()
    found = {
        "invisible_characters": not _is_plain(text) and _INVISIBLE.search(text) is not None,
        "hidden_markup": _without_hidden(visible) != visible,
        "template_tokens": _TEMPLATE_TOKEN.search(visible) is not None,
        "forged_sections": (_SECTION.search(visible) or _REFERENCE.search(visible)) is not None,
        "forged_verdict": _VERDICT.search(visible) is not None,
        "speaks_to_judge": any(speech.found_in(visible, folded) for speech in _SPEECHES),
    }
    return tuple(suspicion for suspicion in SUSPICIONS if found[suspicion])


_CURIOUS = re.compile(r"[<\[\x00-\x08\x0b-\x1f\x7f]")


def _is_plain(text: str) -> bool:
    """Whether there is nothing in the text but printable ASCII, tabs and line feeds."""
    return text.isascii() and text.replace("\n", "").replace("\t", "").isprintable()


def _visible(text: str) -> str:
    if _is_plain(text):
        return text
    return _INVISIBLE.sub("", _LINE_ENDS.sub("\n", text))


def _without_hidden(text: str) -> str:
    """The text without hidden markup, but for code: there it is what the reader sees."""
    if "<" not in text and "[" not in text and "phantom" not in text:
        return text
    if "<" not in text and not _HIDDEN.search(text):
        return text
    kept: list[str] = []
    position = 0
    for span in spans(text):
        if span.kind in ("code", "inline_code"):
            kept += [_rendered(text[position : span.start]), text[span.start : span.end]]
            position = span.end or len(text)
    return "".join([*kept, _rendered(text[position:])])


def _rendered(prose: str) -> str:
    """What a reader sees of prose in Markdown or HTML."""
    first, *commented = prose.split("<!--")
    shown = [first]
    for piece in commented:
        _, closing, after = piece.partition("-->")
        shown.append(after if closing else f"<!--{piece}")
    prose, position = "".join(shown), 0
    shown.clear()
    folded = prose.casefold() if prose.isascii() else prose
    while match := _HIDING_TAG.search(prose, position):
        closing = f"</{match['tag'].casefold()}>"
        end = folded.find(closing, match.end())
        shown.append(prose[position : match.start()])
        position = end + len(closing) if end >= 0 else len(prose)
    return _HIDDEN.sub("", "".join([*shown, prose[position:]]))
