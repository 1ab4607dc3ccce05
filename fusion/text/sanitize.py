"""Makes untrusted text fit to be shown to a model that judges it.

Invisible characters are removed. What a chat template or our own prompts would take for structure is broken by a space.
Each line of a judged answer begins with a mark, so that no line of it can pass for one of ours (datamarking,
arXiv 2403.14720). The answer that a client receives is never changed.

HTML and Markdown stay as they are, even where a browser would hide them, and so do sentences that ask for a score.
"""

from __future__ import annotations

import re
from typing import get_args

from fusion.results import Suspicion

SUSPICIONS: tuple[Suspicion, ...] = get_args(Suspicion)


MARK = "| "
"""Begins each line of a judged answer."""


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


_LABELLED = r"(?:[{\[]\s{0,8}){0,2}\\?[\"']?(?:answer\s)?[A-Z]\\?[\"']?\s{0,8}[:}\]\"',]"


_VERDICT = re.compile(
    rf"[\"'](?=(?:scores?|winner|verdict|best|label|candidate)\\?[\"']\s{{0,8}}:\s{{0,8}}{_LABELLED})"
    r"|[\"'](?=scores\\?[\"']\s{0,8}:\s{0,8}[\[{])"
    r"|[\"'](?=(?:answer\s)?[A-Z]\\?[\"']\s{0,8}:\s{0,8}(?:10|[0-9])(?:\.\d)?\s{0,8}[,}])",
    re.I,
)


_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n){2,}")


def neutralize_markup(text: str) -> str:
    """The text without invisible characters, and with what a model's chat template or our own prompt would take for
    structure broken by a space: `<|im_end|>` becomes `< |im_end|>`."""
    if text.isascii() and not _CURIOUS.search(text):
        return text
    return _REFERENCE.sub("[ ", _SECTION.sub("< ", _TEMPLATE_TOKEN.sub(r"\g<0> ", _visible(text))))


def has_invisible_characters(text: str) -> bool:
    """Whether the text has invisible characters. Line ends of any kind are not counted as such."""
    return _visible(text) != text.replace("\r\n", "\n")


def mark_lines(text: str) -> str:
    """The text as a judge model is shown it: neutralized, its verdicts made no JSON, and a mark before every line."""
    shown = neutralize_markup(text)
    shown = _VERDICT.sub("\N{RIGHT SINGLE QUOTATION MARK}", shown)
    shown = _BLANK_LINES.sub("\n\n", shown.strip("\n"))
    return "\n".join(f"{MARK}{line}" for line in shown.split("\n"))


def find_suspicions(text: str) -> tuple[Suspicion, ...]:
    """What about the text looks made for a judge model. A hint and no proof: an answer may be about prompts."""
    visible = _visible(text)
    found = {
        "invisible_characters": not _is_plain(text) and _INVISIBLE.search(text) is not None,
        "template_tokens": _TEMPLATE_TOKEN.search(visible) is not None,
        "forged_sections": (_SECTION.search(visible) or _REFERENCE.search(visible)) is not None,
        "forged_verdict": _VERDICT.search(visible) is not None,
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
