"""Blocks of every kind, and offers of them, for tests of `fusion/verbatim/`."""

from __future__ import annotations

from hypothesis import strategies as st

from fusion.verbatim.references import Draft, Offer, offer_blocks

FENCE = "3f9c0a1b2c3d4e5f"
CODE = "```go\nfunc f() int {\n\treturn 1  \n}\n```"
TABLE = "| a | b |\n|---|--:|\n| 1 | 2 |"
MATHS = "$$\nE = m c^2\n$$"
LINK = "[the long name of a page](https://example.org/a/long/path?with=query)"
CITED = "[1] Smith, J. (2020). On things. *Journal of Things*, 3(4)."
QUOTE = "> so it was\n> written"
BLOCKS = (CODE, TABLE, MATHS, CITED, QUOTE, "~~~\nplain\n~~~", "\\[\nx  +  y\n\\]", "[^2]: see there")


def offer_or_none(*texts: str, fence: str = FENCE) -> Offer | None:
    """The blocks of these drafts, which are of the members `m0`, `m1`, … in order of trust."""
    members = [f"m{number}" for number in range(len(texts))]
    drafts = [Draft("ABCDEFGH"[number], member, texts[number]) for number, member in enumerate(members)]
    return offer_blocks(drafts, fence, (), members)


def offer(*texts: str) -> Offer:
    """The blocks of these drafts, of which there is at least one."""
    blocks = offer_or_none(*texts)
    assert blocks is not None
    return blocks


FRAGMENTS = st.sampled_from(
    [
        *BLOCKS,
        LINK,
        *(line for block in BLOCKS for line in block.split("\n")),
        *("[[A1-3f9c]]", "[[B2-3f9c]]", "[[Z9-3f9c]]", "[[A1-3f9d]]", "[[A1-", "3f9c]]", "[", "[[", "]]"),
        *("```", "````", "~~~", "$$", "|", "> ", "  ", "\t", " ", "\n", "\n\n", "\r\n", "words. ", "\u2019", "x"),
    ]
)
TEXTS = st.lists(st.tuples(FRAGMENTS, st.sampled_from(["", "\n", "\n\n", " "])), max_size=14).map(
    lambda pieces: "".join(f"{fragment}{gap}" for fragment, gap in pieces)
)
ANY_TEXT = TEXTS | st.text(max_size=60)
