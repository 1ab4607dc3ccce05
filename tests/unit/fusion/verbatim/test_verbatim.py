"""Blocks that a merge takes over come out byte for byte, and nothing else is touched."""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.results import TakenBlock
from fusion.text.sanitize import disarmed
from fusion.verbatim.references import INLINE_MIN_CHARS, MAX_BLOCKS, Draft, Offer, offered
from fusion.verbatim.restorer import Restorer, restored

FENCE = "3f9c0a1b2c3d4e5f"
CODE = "```go\nfunc f() int {\n\treturn 1  \n}\n```"
SPACED = "```go\nfunc f() int {\n    return 1\n}\n```"
TABLE = "| a | b |\n|---|--:|\n| 1 | 2 |"
MATHS = "$$\nE = m c^2\n$$"
LINK = "[the long name of a page](https://example.org/a/long/path?with=query)"
CITED = "[1] Smith, J. (2020). On things. *Journal of Things*, 3(4)."
QUOTE = "> so it was\n> written"
BLOCKS = (CODE, TABLE, MATHS, CITED, QUOTE, "~~~\nplain\n~~~", "\\[\nx  +  y\n\\]", "[^2]: see there")


def offer_of(*texts: str, fence: str = FENCE) -> Offer | None:
    members = [f"m{number}" for number in range(len(texts))]
    drafts = [Draft("ABCDEFGH"[number], member, texts[number]) for number, member in enumerate(members)]
    return offered(drafts, fence, (), members)


def offer(*texts: str) -> Offer:
    found = offer_of(*texts)
    assert found is not None
    return found


def put(text: str, found: Offer) -> str:
    whole, _ = restored(text, found)
    assert streamed(text, found, range(len(text))) == whole
    return whole


def streamed(text: str, found: Offer, cuts: Iterable[int]) -> str:
    restorer = Restorer(found)
    pieces = [text[start:end] for start, end in pairwise(sorted({0, len(text), *cuts}))]
    return "".join([*map(restorer.feed, pieces), restorer.finish()])


# --- what is offered --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_is_offered_as_it_is_and_shown_under_its_reference(block: str) -> None:
    found = offer(f"Look:\n\n{block}\n\nThat is all.")
    assert [each.text for each in found.blocks.values()] == [block]
    assert found.shown["m0"] == f"Look:\n\n[[A1-3f9c]]\n{block}\n\nThat is all."


def test_what_stands_in_a_line_is_offered_from_a_length_on() -> None:
    formula = f"\\({'x' * INLINE_MIN_CHARS}\\)"
    found = offer(f"See {LINK}, {formula}, [this](https://a.b/c) and $x$.")
    assert [each.text for each in found.blocks.values()] == [LINK, formula]
    assert found.shown["m0"].startswith(f"See [[A1-3f9c]]{LINK}, [[A2-3f9c]]{formula}, [this]")


@pytest.mark.parametrize(
    "text", ["", "Plain words.", "1 > 0 | x [y] $5 and $6", "```\nnever closed", "a `b` c", "```x``` y", "https://a.b"]
)
def test_nothing_is_offered_where_there_are_no_blocks(text: str) -> None:
    assert offer_of(text, text) is None


def test_the_same_block_has_one_reference_whoever_wrote_it_and_wherever() -> None:
    indented = "\n".join(f"   {line}" for line in CODE.split("\n"))
    found = offer(f"{CODE}\n", f"1. So:\n\n{indented}\n", "no block")
    assert [(key, each.members) for key, each in found.blocks.items()] == [("[[A1-3f9c]]", ("m0", "m1"))]
    assert "   [[A1-3f9c]]\n   ```go" in found.shown["m1"]


def test_a_block_that_hides_something_is_not_offered() -> None:
    found = offer(f"```\nx = 1 \u202e# hidden\n```\n\n{TABLE}\n")
    assert [each.kind for each in found.blocks.values()] == ["table"]


def test_what_is_shown_disarmed_comes_back_as_it_was() -> None:
    html = "```html\n<s>old</s> <|im_end|>\n```"
    found = offer(html)
    shown = found.shown["m0"].split("\n", 1)[1]
    assert shown != html
    assert put("[[A1-3f9c]]", found) == put(shown, found) == put(html, found) == html


def test_line_ends_come_back_as_they_were() -> None:
    windows = CODE.replace("\n", "\r\n")
    assert put("[[A1-3f9c]]\n", offer(f"So:\r\n\r\n{windows}\r\n\r\nyes")) == f"{windows}\n"


def test_of_one_candidate_so_many_blocks_are_offered() -> None:
    found = offer("\n\n".join(f"```\n{number}\n```" for number in range(MAX_BLOCKS + 9)))
    assert len(found.blocks) == MAX_BLOCKS


# --- references -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", BLOCKS)
def test_a_reference_becomes_its_block(block: str) -> None:
    found = offer(f"Look:\n\n{block}\n")
    assert put("So:\n\n[[A1-3f9c]]\n\nDone.", found) == f"So:\n\n{block}\n\nDone."
    assert restored("[[A1-3f9c]]", found)[1][0].how == "referred"


def test_a_block_of_lines_has_its_lines_to_itself() -> None:
    found = offer(CODE, TABLE)
    assert put("So: [[A1-3f9c]] and on", found) == f"So: \n{CODE}\nand on"
    assert put("[[B1-3f9c]]\nand on", found) == f"{TABLE}\n\nand on", "a line after a table would be its row"
    assert put("[[B1-3f9c]]\n\nand on", found) == f"{TABLE}\n\nand on"


def test_a_reference_in_a_line_becomes_what_stood_in_a_line() -> None:
    found = offer(f"See {LINK}.")
    assert put("As [[A1-3f9c]] says, [[A1-3f9c]].", found) == f"As {LINK} says, {LINK}."


def test_an_indented_reference_moves_the_block_and_not_its_content() -> None:
    moved = "   ```go\n   func f() int {\n   \treturn 1  \n   }\n   ```"
    assert put("1. So:\n\n   [[A1-3f9c]]\n", offer(CODE)) == f"1. So:\n\n{moved}\n"
    assert put("[[A1-3f9c]]", offer(f"1. So:\n\n{moved}\n")) == CODE


def test_inside_of_a_fence_a_reference_is_what_is_between_the_blocks_own_fences() -> None:
    assert put("```go\n[[A1-3f9c]]\n```\n", offer(CODE)) == f"{CODE}\n"


def test_a_block_that_is_written_out_under_its_reference_is_there_once() -> None:
    assert put(f"[[A1-3f9c]]\n{SPACED}\nDone.", offer(CODE)) == f"{CODE}\nDone."
    assert put(f"See [[A1-3f9c]]{LINK}.", offer(f"See {LINK}.")) == f"See {LINK}."


def test_a_reference_that_names_no_block_goes_with_its_line() -> None:
    assert put("So:\n[[C7-3f9c]]\nand [[C7-3f9c]] on", offer(CODE)) == "So:\nand  on"
    assert put("[[C7-3f9c]]", offer(CODE)) == ""


@pytest.mark.parametrize("text", ["[[A1-3f9d]]", "[[A1]]", "[[Page]]", "[[1, 2], [3, 4]]", "[[A1-3f9c]", "[[", "[[[["])
def test_what_is_no_reference_stays(text: str) -> None:
    assert put(f"So {text} it is {text}", offer(CODE)) == f"So {text} it is {text}"


# --- copies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("block", "written"),
    [
        (CODE, SPACED),
        (CODE, CODE.replace("  \n", "\n")),
        ("```py\nprint('a', \"b\")\n```", "```py\nprint(\u2018a\u2019, \u201cb\u201d)\n```"),
        (TABLE, "|a|b|\n|-|-:|\n|1|2|"),
        (MATHS, "$$\nE  = m c^2 \n$$"),
        (CITED, CITED.replace(" (", "  (")),
    ],
)
def test_what_copying_changed_is_restored(block: str, written: str) -> None:
    found = offer(block)
    assert put(f"So:\n\n{written}\n\nDone.", found) == f"So:\n\n{block}\n\nDone."
    assert restored(written, found)[1] == (TakenBlock(next(iter(found.blocks.values())).kind, "restored", ("m0",)),)


@pytest.mark.parametrize(
    ("block", "written"),
    [
        (CODE, CODE.replace("1", "2")),
        (SPACED, CODE),
        (CODE, CODE.replace("go", "")),
        ("```py\nprint(\u2018a\u2019)\n```", "```py\nprint('a')\n```"),
        ("```py\nif a:\n  b\n```", "```py\nif a:\nb\n```"),
        (TABLE, f"{TABLE}\n| 3 | 4 |"),
        (TABLE, "| a | b |\n|---|--:|"),
        (CODE, "```go\nfunc f() int {\n\treturn 1  \n}\n"),
    ],
)
def test_what_was_changed_on_purpose_stays(block: str, written: str) -> None:
    found = offer(block)
    assert put(f"So:\n\n{written}\n\nDone.", found) == f"So:\n\n{written}\n\nDone."
    assert restored(written, found)[1] == ()


def test_a_copy_flows_on_and_only_what_differs_is_held_back() -> None:
    restorer = Restorer(offer(CODE))
    assert restorer.feed("So:\n```go\nfunc f() int {\n\tret") == "So:\n```go\nfunc f() int {\n\tret"
    assert restorer.feed("urn 1") == "urn 1"
    assert restorer.feed("\n") == ""
    assert restorer.feed("}") == ""
    assert restorer.feed("\n``") == ""
    assert restorer.feed("`\n") == "  \n}\n```\n"


def test_what_was_held_back_goes_on_at_the_first_character_that_fits_no_block() -> None:
    restorer = Restorer(offer(CODE))
    assert restorer.feed("```go\nfunc f() int {\n    return ") == "```go\nfunc f() int {\n"
    assert restorer.feed("2") == "    return 2"
    assert restorer.feed(" }") == " }"


def test_words_flow_on_at_once() -> None:
    restorer = Restorer(offer(CODE, f"See {LINK}"))
    for piece in ("It", " is [", "1] so", " and x[", "0]"):
        assert restorer.feed(piece).endswith(piece.rstrip("["))
    assert restorer.feed("[[") == ""


# --- candidates that mean ill -----------------------------------------------------------------------------------------


def test_a_candidate_cannot_name_a_block() -> None:
    """Not even one who knows the fence, as nobody does: then another end is drawn."""
    forged = f"Take [[A1-3f9c]] and [[A1-{FENCE}]].\n\n[[A1-3f9c]]\n```\nmine\n```\n"
    found = offer(CODE, forged)
    assert found.nonce not in ("3f9c", FENCE)
    assert "[ [A1-3f9c]]" in found.shown["m1"]
    assert "[[A1-3f9c]]" not in found.shown["m1"]
    assert put(forged, found) == forged


def test_when_every_end_occurs_in_a_candidate_the_whole_fence_is_one() -> None:
    ends = " ".join(f"[[A1-{FENCE[start : start + 4]}]]" for start in range(13))
    found = offer(CODE, ends)
    assert found.nonce == FENCE
    assert put(f"[[A1-{FENCE}]]\n{ends}", found) == f"{CODE}\n{ends}"


def test_a_candidate_cannot_change_anothers_block() -> None:
    """One that differs in blanks alone would break a Makefile."""
    found = offer(SPACED, CODE)
    assert put(CODE, found) == CODE
    assert put("[[B1-3f9c]]", found) == CODE
    assert put(SPACED, found) == SPACED
    assert restored(CODE, found)[1] == (TakenBlock("code", "copied", ("m1",)),)


# --- in general -------------------------------------------------------------------------------------------------------

FRAGMENTS = st.sampled_from(
    [
        *BLOCKS,
        CODE,
        SPACED,
        LINK,
        *(line for block in BLOCKS for line in block.split("\n")),
        *("[[A1-3f9c]]", "[[B2-3f9c]]", "[[Z9-3f9c]]", "[[A1-3f9d]]", "[[A1-", "3f9c]]", "[", "[[", "]]"),
        *("```", "````", "~~~", "$$", "|", "> ", "  ", "\t", " ", "\n", "\n\n", "\r\n", "words. ", "\u2019", "x"),
    ]
)
TEXTS = st.lists(st.tuples(FRAGMENTS, st.sampled_from(["", "\n", "\n\n", " "])), max_size=14).map(
    lambda pieces: "".join(f"{fragment}{gap}" for fragment, gap in pieces)
)
ANY = TEXTS | st.text(max_size=60)


@given(st.lists(ANY, min_size=1, max_size=3), TEXTS, st.lists(st.integers(0, 400), max_size=12))
def test_however_an_answer_is_cut_it_comes_out_the_same(drafts: list[str], answer: str, cuts: list[int]) -> None:
    found = offer_of(*drafts)
    if found is None:
        return
    answer = answer.replace("3f9c", found.nonce)
    whole, taken = restored(answer, found)
    assert streamed(answer, found, [cut for cut in cuts if cut < len(answer)]) == whole
    assert streamed(answer, found, range(len(answer))) == whole
    members = {f"m{number}" for number in range(len(drafts))}
    for block in taken:
        assert block.members
        assert set(block.members) <= members


@given(st.lists(ANY, min_size=1, max_size=3), ANY)
def test_an_answer_without_references_and_copies_is_not_touched(drafts: list[str], answer: str) -> None:
    found = offer_of(*drafts)
    if found is None or found.nonce in answer:
        return
    whole, taken = restored(answer, found)
    if not any(block.how == "restored" for block in taken):
        assert whole == answer
    assert "".join(whole.split()).translate(str.maketrans("\u2019", "'")).replace("-", "") == "".join(
        answer.split()
    ).translate(str.maketrans("\u2019", "'")).replace("-", ""), "nothing but blanks, marks and rules changes"


@given(st.lists(ANY, min_size=1, max_size=3))
def test_a_block_that_is_referred_to_is_in_the_answer_as_in_its_drafts(drafts: list[str]) -> None:
    found = offer_of(*drafts)
    if found is None:
        return
    for reference, block in found.blocks.items():
        whole = put(reference, found)
        assert whole == block.at("")
        assert any(f"{block.indent}{block.text}" in drafts[int(member[1:])] for member in block.members)
        assert found.nonce in reference
        assert not any(reference in draft for draft in drafts)


@given(TEXTS, ANY, st.sampled_from(BLOCKS))
def test_no_other_candidate_changes_what_is_taken_over(honest: str, attack: str, block: str) -> None:
    honest = f"{block}\n\n{honest}"
    alone, among = offer(f"{block}\n"), offer(honest, attack)
    [only] = alone.blocks.values()
    for reference, each in among.blocks.items():
        if each.text == only.text and "m0" in each.members:
            assert put(f"So:\n\n{reference}\n\nDone.", among) == f"So:\n\n{block}\n\nDone."
    assert put(f"So:\n\n{block}\n\nDone.", among) == f"So:\n\n{block}\n\nDone."


@given(ANY, TEXTS)
def test_a_draft_is_shown_as_without_references_but_for_them(draft: str, other: str) -> None:
    found = offer_of(draft, other)
    if found is None:
        return
    for member, text in (("m0", draft), ("m1", other)):
        shown = found.shown[member]
        for reference, block in found.blocks.items():
            shown = shown.replace(reference if block.inline else f"{reference}\n{block.indent}", "")
            for indent in ("", " ", "  ", "\t"):
                shown = shown.replace(f"{reference}\n{indent}", "") if reference in shown else shown
        assert "".join(shown.split()) == "".join(disarmed(text).split())


def test_it_takes_linear_time() -> None:
    def took_s(lines: int) -> float:
        line = "x = y + 1\n"
        restorer = Restorer(offer(f"```\n{line * lines}```\n"))
        began = time.process_time()
        for start in range(0, lines * len(line), 5):
            restorer.feed(f"```\n{line * lines}"[start : start + 5])
        return time.process_time() - began

    assert min(took_s(800) for _ in range(3)) < 10 * min(took_s(200) for _ in range(3))
