"""Short answers that say the same, and the many that only look so."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.agreement.normal_form import normal_form
from fusion.text.similarity import SHORT_WORDS


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("1,000", "1000.0"),
        ("1000", "1,000.00"),
        ("-4", "\N{MINUS SIGN}4"),
        ("1\N{NARROW NO-BREAK SPACE}000", "1000"),
        ("B", "(b)"),
        ("B", "Answer: B"),
        ("**B**", "The correct answer is (B)."),
        ("5 km", "5km"),
        ("5 kilometers", "5 km"),
        ("5 km", "5,000 m"),
        ("1 h", "60 minutes"),
        ("50%", "50 percent"),
        ("$5", "$5.00"),
        ("$5", "5 dollars"),
        ("Paris", "paris."),
        ("Yes", '"yes."'),
        ("The answer is 42.", "42"),
        ("\\boxed{42}", "$42$"),
        ("#### 42", "42"),
        ("x=3", "x = 3"),
        ("\N{THUMBS UP SIGN}", " \N{THUMBS UP SIGN}\n"),
        ('{"a": 1, "b": [2, 3]}', '```json\n{"b":[2,3],"a":1}\n```'),
        ("```json\n[1]```", "[1]"),
        ('{"a": "```"}', '```json\n{"a":"```"}\n```'),
        ("```python\nif a:\n  b\n```", "```Python\nif a:   \n  b\n\n```\n"),
        ("```python\nif a:\n  b\n```", "```python\r\nif a:\r\n  b\r\n```"),
        ("cafe\N{COMBINING ACUTE ACCENT}", "caf\N{LATIN SMALL LETTER E WITH ACUTE}"),
    ],
)
def test_they_say_the_same(a: str, b: str) -> None:
    assert normal_form(a) is not None
    assert normal_form(a) == normal_form(b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("4", "-4"),
        ("4", "- 4"),
        ("4", "not 4"),
        ("yes", "not yes"),
        ("5 km", "5 m"),
        ("5 km", "5 miles"),
        ("5 km", "5"),
        ("5 km", "5 km/h"),
        ("5 km^2", "5000 m^2"),
        ("5 mW", "5 MW"),
        ("5 MHz", "5 mHz"),
        ("50%", "50"),
        ("$42", "42"),
        ("$5", "\N{EURO SIGN}5"),
        ("1,5", "15"),
        ("1,5", "1.5"),
        ("0,125", "125"),
        ("1.000", "1,000"),
        ("1,00", "100"),
        ("3.10", "3.1"),
        ("Python 3.10", "Python 3.1"),
        ("007", "7"),
        ("5!", "5"),
        ("x\N{SUPERSCRIPT TWO}", "x2"),
        ("5-3", "5 -3"),
        ("x < 3", "x > 3"),
        ("2+2", "2/2"),
        ("1e3", "1000"),
        ("1/2", "1,2"),
        ("3 1/2", "31/2"),
        ("CO", "Co"),
        ("NO", "no"),
        ("X = 1", "x = 1"),
        ("B", "B) or C)"),
        ("A", "a dog"),
        ("yes", "yes, but only on Mondays"),
        ("\N{THUMBS UP SIGN}", "\N{THUMBS DOWN SIGN}"),
        ("1" * 40 + "1", "1" * 40 + "2"),
        ("[1]", "[1.0]"),
        ("[1, 2]", "[2, 1]"),
        ('{"a": "x"}', '{"a": "X"}'),
        ('{"a": 1}', '{"a": "1"}'),
        ('{"a": true}', '{"a": 1}'),
        ("[12345678901234567890123]", "[12345678901234567890124]"),
        ("```bash\na =1\n```", "```bash\na=1\n```"),
        ("```c\ni++ + j\n```", "```c\ni + ++j\n```"),
        ("```python\nx=f(1,2)\n```", "```python\nx = f(1, 2)\n```"),
        ("```python\nif a:\n  b\n```", "```python\nif a:\n    b\n```"),
        ("```python\nif a:\n  b\n  c\n```", "```python\nif a:\n  b\n   c\n```"),
        ("```python\na\nb\n```", "```python\na\n\nb\n```"),
        ("```python\na\n```", "```python\n a\n```"),
        ("```python\na\n```", "```ruby\na\n```"),
        ("```python\nif a:\n  b\nc\n```", "```python\nif a:\n  b\n  c\n```"),
        ("```yaml\na: b c\n```", "```yaml\na: b  c\n```"),
    ],
)
def test_they_do_not_say_the_same(a: str, b: str) -> None:
    assert normal_form(a) is not None
    assert normal_form(a) != normal_form(b)


@pytest.mark.parametrize(
    "text",
    ["", " \n", "word " * (SHORT_WORDS + 1), "x" * 401, "**", "``````"],
)
def test_nothing_and_long_text_have_no_form(text: str) -> None:
    form = normal_form(text)
    assert form is None or text.strip() in ("**", "``````")


WRITTEN = st.text(alphabet="-+.,0123456789 kmMW$%bB()nNoOtTx=!\n", max_size=24)


@given(WRITTEN)
def test_what_is_written_around_an_answer_says_nothing(text: str) -> None:
    assert normal_form(f"  {text}\n") == normal_form(text)


@given(st.integers(), st.integers())
def test_whole_numbers_are_equal_exactly_when_they_are(a: int, b: int) -> None:
    assert normal_form(f"{a:,}") == normal_form(f"{a}.0") == normal_form(str(a))
    assert (normal_form(str(a)) == normal_form(f"{b:,}")) == (a == b)


@given(st.decimals(-999, 999, places=2), st.decimals(-999, 999, places=2), st.sampled_from(["km", "m", "kg", "%"]))
def test_quantities_are_equal_exactly_when_they_are(a: object, b: object, unit: str) -> None:
    assert (normal_form(f"{a} {unit}") == normal_form(f"{b}{unit}")) == (a == b)


@pytest.mark.parametrize("piece", ["` ", "```\n", "1,", "- ", "$", "**", "\\boxed{", "answer:", "/a", "\t"])
def test_any_text_takes_linear_time(piece: str) -> None:
    """The bound is generous, for it is real time: what is quadratic takes minutes here."""
    text = (piece * 20_000)[:19_000]
    began_at = time.process_time()
    for whole in (text, f"```python\n{text}\n```", f"{{{text}"):
        normal_form(whole)
    assert time.process_time() - began_at < 2
