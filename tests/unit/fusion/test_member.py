"""A member's voice: its own sampling and system prompt around the client's request."""

from __future__ import annotations

from fusion.chat import Call, ImagePart, Message, Request, Sampling, TextPart
from fusion.member import MemberProfile

USER = Message("user", "What is two and two?")
TERSE = MemberProfile("ada", "here", "big", Sampling(temperature=0.7, max_tokens=100), "Be terse.")


def voiced(*messages: Message, purpose: str = "answer", sampling: Sampling | None = None) -> Request:
    request = Request(messages, sampling or Sampling())
    return TERSE.apply_to(Call("ada", request, 5.0, purpose)).request


def test_its_system_prompt_comes_first() -> None:
    assert voiced(USER).messages == (Message("system", "Be terse."), USER)
    assert voiced().messages == (Message("system", "Be terse."),)


def test_the_clients_system_prompt_comes_after_its_own() -> None:
    assert voiced(Message("system", "Speak French."), USER).messages == (
        Message("system", "Be terse.\n\nSpeak French."),
        USER,
    )
    parts = (TextPart("Speak"), ImagePart("x"), TextPart("French."))
    assert voiced(Message("developer", parts), USER).messages[0] == Message("developer", "Be terse.\n\nSpeak\nFrench.")


def test_it_stays_out_when_the_member_judges() -> None:
    assert voiced(USER, purpose="judge").messages == (USER,)
    assert voiced(USER, purpose="judge").sampling.temperature == 0.7


def test_a_member_without_a_system_prompt_adds_none() -> None:
    assert MemberProfile("bob", "here", "big").apply_to(Call("bob", Request((USER,)), 5.0)) == Call(
        "bob", Request((USER,)), 5.0
    )


def test_its_sampling_fills_in_what_the_client_left_open() -> None:
    assert voiced(USER, sampling=Sampling(temperature=0.0)).sampling == Sampling(temperature=0.0, max_tokens=100)


def test_the_rest_of_the_call_is_kept() -> None:
    call = TERSE.apply_to(Call("ada", Request((USER,), tool_choice="auto"), 5.0))
    assert (call.member, call.timeout_s, call.purpose, call.request.tool_choice) == ("ada", 5.0, "answer", "auto")


def test_members_of_one_backend_and_model_are_samples_of_one_origin() -> None:
    assert TERSE.origin == MemberProfile("bob", "here", "big").origin
    assert TERSE.origin != MemberProfile("bob", "there", "big").origin
    assert TERSE.origin != MemberProfile("bob", "here", "small").origin
