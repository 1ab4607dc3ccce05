"""References become the blocks that they name, byte for byte, whole or streamed, and nothing else changes."""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.results import TakenBlock
from fusion.verbatim.expander import ReferenceExpander, expand_references
from fusion.verbatim.references import Offer
from tests.support.verbatim import (
    ANY_TEXT,
    BLOCKS,
    CITED,
    CODE,
    FENCE,
    LINK,
    MATHS,
    QUOTE,
    TABLE,
    TEXTS,
    offer,
    offer_or_none,
)

CHANGED = CODE.replace("\t", "    ")


def streamed(text: str, offered: Offer, cuts: Iterable[int]) -> str:
    expander = ReferenceExpander(offered)
    pieces = [text[start:end] for start, end in pairwise(sorted({0, len(text), *cuts}))]
    return "".join([*map(expander.feed, pieces), expander.finish()])


def expanded(text: str, offered: Offer) -> str:
    """The expanded answer, which is the same when it arrives character by character."""
    whole, _ = expand_references(text, offered)
    assert streamed(text, offered, range(len(text))) == whole
    return whole


@pytest.mark.parametrize("block", BLOCKS)
def test_a_reference_becomes_its_block(block: str) -> None:
    offered = offer(f"Look:\n\n{block}\n")
    assert expanded("So:\n\n[[A1-3f9c]]\n\nDone.", offered) == f"So:\n\n{block}\n\nDone."
    kind = next(iter(offered.blocks.values())).kind
    assert expand_references("[[A1-3f9c]]", offered)[1] == (TakenBlock(kind, "referred", ("m0",)),)


def test_a_block_that_is_shown_with_its_markup_broken_comes_back_as_it_was() -> None:
    html = "```html\n<s>old</s> <|im_end|>\n```"
    offered = offer(html)
    assert html not in offered.shown["m0"]
    assert expanded("[[A1-3f9c]]", offered) == html


def test_line_ends_come_back_as_they_were() -> None:
    windows = CODE.replace("\n", "\r\n")
    assert expanded("[[A1-3f9c]]\n", offer(f"So:\r\n\r\n{windows}\r\n\r\nyes")) == f"{windows}\n"


def test_a_block_of_lines_has_its_lines_to_itself() -> None:
    offered = offer(CODE, TABLE)
    assert expanded("So: [[A1-3f9c]] and on", offered) == f"So: \n{CODE}\nand on"
    assert expanded("[[A1-3f9c]] [[A1-3f9c]]", offered) == f"{CODE}\n{CODE}"
    assert expanded("[[B1-3f9c]]\nand on", offered) == f"{TABLE}\n\nand on", "a line after a table would be its row"
    assert expanded("[[B1-3f9c]] and on", offered) == f"{TABLE}\n\nand on"
    assert expanded("[[B1-3f9c]] [[B1-3f9c]]", offered) == f"{TABLE}\n\n{TABLE}"
    assert expanded("[[B1-3f9c]]\n\nand on", offered) == f"{TABLE}\n\nand on"


def test_an_inline_reference_becomes_the_inline_block() -> None:
    offered = offer(f"See {LINK}.")
    assert expanded("As [[A1-3f9c]] says, [[A1-3f9c]].", offered) == f"As {LINK} says, {LINK}."


def test_an_indented_reference_moves_the_block_and_not_its_content() -> None:
    moved = "   ```go\n   func f() int {\n   \treturn 1  \n   }\n   ```"
    assert expanded("1. So:\n\n   [[A1-3f9c]]\n", offer(CODE)) == f"1. So:\n\n{moved}\n"
    assert expanded("[[A1-3f9c]]", offer(f"1. So:\n\n{moved}\n")) == CODE


def test_a_reference_inside_a_fence_becomes_the_code_without_its_own_fences() -> None:
    assert expanded("```go\n[[A1-3f9c]]\n```\n", offer(CODE)) == f"{CODE}\n"


def test_a_block_that_is_repeated_after_its_reference_is_there_once() -> None:
    assert expanded(f"[[A1-3f9c]]\n{CODE}\nDone.", offer(CODE)) == f"{CODE}\nDone."
    assert expanded(f"[[A1-3f9c]]\n{CODE}", offer(CODE)) == CODE
    assert expanded(f"[[A1-3f9c]]\n{TABLE}\n| 3 | 4 |", offer(TABLE)) == f"{TABLE}\n| 3 | 4 |"
    assert expanded(f"See [[A1-3f9c]]{LINK}.", offer(f"See {LINK}.")) == f"See {LINK}."


@pytest.mark.parametrize("written", [CHANGED, CODE.replace("1", "2"), f"{CODE}x", CODE[:-1]])
def test_a_block_that_is_changed_after_its_reference_stays(written: str) -> None:
    assert expanded(f"[[A1-3f9c]]\n{written}\nDone.", offer(CODE)) == f"{CODE}\n{written}\nDone."


@pytest.mark.parametrize("written", [CODE, CHANGED, TABLE, "|a|b|\n|-|-:|\n|1|2|", MATHS, CITED, QUOTE, LINK])
def test_a_block_without_a_reference_stays_as_the_judge_model_wrote_it(written: str) -> None:
    offered = offer(*BLOCKS)
    assert expand_references(f"So:\n\n{written}\n\nDone.", offered) == (f"So:\n\n{written}\n\nDone.", ())


def test_a_reference_that_names_no_block_is_dropped_with_its_line() -> None:
    assert expanded("So:\n[[C7-3f9c]]\nand [[C7-3f9c]] on", offer(CODE)) == "So:\nand  on"
    assert expanded("So:\n  [[C7-3f9c]] \nand on", offer(CODE)) == "So:\nand on"
    assert expanded("[[C7-3f9c]]", offer(CODE)) == ""


@pytest.mark.parametrize("text", ["[[A1-3f9d]]", "[[A1]]", "[[Page]]", "[[1, 2], [3, 4]]", "[[A1-3f9c]", "[[", "[[[["])
def test_what_is_no_reference_stays(text: str) -> None:
    assert expanded(f"So {text} it is {text}", offer(CODE)) == f"So {text} it is {text}"


def test_references_of_another_request_stay() -> None:
    forged = "Take [[A1-3f9c]].\n\n[[A1-3f9c]]\n```\nmine\n```\n"
    assert expanded(forged, offer(CODE, forged)) == forged
    ends = " ".join(f"[[A1-{FENCE[start : start + 4]}]]" for start in range(13))
    assert expanded(f"[[A1-{FENCE}]]\n{ends}", offer(CODE, ends)) == f"{CODE}\n{ends}"


def test_a_stream_is_held_back_only_where_a_reference_may_be_unfinished() -> None:
    expander = ReferenceExpander(offer(CODE, f"See {LINK}"))
    for piece in ("It", " is [", "1] so", " and x[", "0]"):
        assert expander.feed(piece).endswith(piece.rstrip("["))
    assert expander.feed("\n```go\n\tx ") == "\n```go\n\tx "
    assert expander.feed("[[A1-") == ""
    assert expander.feed("4") == "[[A1-4"


def test_a_repeated_block_is_held_back_until_it_differs() -> None:
    expander = ReferenceExpander(offer(CODE))
    assert expander.feed("[[A1-3f9c]]") == CODE
    assert expander.feed("\n```go\nfunc") == ""
    assert expander.feed(" g") == "\n```go\nfunc g"


@given(st.lists(ANY_TEXT, min_size=1, max_size=3), TEXTS, st.lists(st.integers(0, 400), max_size=12))
def test_any_split_of_a_stream_gives_the_same_answer(drafts: list[str], answer: str, cuts: list[int]) -> None:
    offered = offer_or_none(*drafts)
    if offered is None:
        return
    answer = answer.replace("3f9c", offered.nonce)
    whole, taken = expand_references(answer, offered)
    assert streamed(answer, offered, [cut for cut in cuts if cut < len(answer)]) == whole
    assert streamed(answer, offered, range(len(answer))) == whole
    members = {f"m{number}" for number in range(len(drafts))}
    for block in taken:
        assert block.members
        assert set(block.members) <= members


@given(st.lists(ANY_TEXT, min_size=1, max_size=3), ANY_TEXT)
def test_an_answer_without_references_is_not_touched(drafts: list[str], answer: str) -> None:
    offered = offer_or_none(*drafts)
    if offered is None or offered.nonce in answer:
        return
    assert expand_references(answer, offered) == (answer, ())


WORDS = st.text(st.sampled_from("ab \u2019|>$`"), max_size=12).filter(lambda text: "```" not in text)


@given(st.lists(st.tuples(WORDS, st.integers(0, len(BLOCKS) - 1)), max_size=5), WORDS)
def test_an_answer_is_its_text_with_each_reference_replaced(pieces: list[tuple[str, int]], last: str) -> None:
    offered = offer(*BLOCKS)
    references = list(offered.blocks)
    written = "".join(f"{text}\n\n{references[number]}\n\n" for text, number in pieces) + last
    wanted = "".join(f"{text}\n\n{BLOCKS[number]}\n\n" for text, number in pieces) + last
    whole, taken = expand_references(written, offered)
    assert whole == wanted
    assert [block.members for block in taken] == [(f"m{number}",) for _, number in pieces]


@given(st.lists(ANY_TEXT, min_size=1, max_size=3))
def test_a_block_is_in_the_answer_as_in_its_drafts(drafts: list[str]) -> None:
    offered = offer_or_none(*drafts)
    if offered is None:
        return
    for reference, block in offered.blocks.items():
        assert expanded(reference, offered) == block.indented("")
        assert any(f"{block.indent}{block.text}" in drafts[int(member[1:])] for member in block.members)
        assert offered.nonce in reference
        assert not any(reference in draft for draft in drafts)


@given(TEXTS, ANY_TEXT, st.sampled_from(BLOCKS))
def test_no_other_candidate_changes_what_a_reference_becomes(honest: str, attack: str, block: str) -> None:
    honest = f"{block}\n\n{honest}"
    alone, among = offer(f"{block}\n"), offer(honest, attack)
    [only] = alone.blocks.values()
    for reference, each in among.blocks.items():
        if each.text == only.text and "m0" in each.members:
            assert expanded(f"So:\n\n{reference}\n\nDone.", among) == f"So:\n\n{block}\n\nDone."


def test_it_takes_linear_time() -> None:
    def took_s(lines: int) -> float:
        line = "x = y + 1\n"
        expander = ReferenceExpander(offer(f"```\n{line * lines}```\n"))
        answer = f"[[A1-3f9c]]\n```\n{line * lines}x"
        began = time.process_time()
        for start in range(0, len(answer), 5):
            expander.feed(answer[start : start + 5])
        return time.process_time() - began

    assert min(took_s(800) for _ in range(3)) < 10 * min(took_s(200) for _ in range(3))
