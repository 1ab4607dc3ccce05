"""The one seam to whatever produces tokens.

Anything with this `ask` is a member. Behaviour is added by wrapping one in another; `fusion.testing` has a scripted
one, and `deployments/` has those that reach a vLLM engine, a remote API, or a replica behind a Serve handle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from fusion.chat import Call, Completion, Delta, Message, Sampling
from fusion.pricing import Price

Emit = Callable[[Delta], None]


class Member(Protocol):
    """A named voice in the pool."""

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        """Answer one call.

        With `emit`, every piece of the answer is handed to it as it comes, and the pieces add up to the completion
        that is returned. Without it nobody is watching, and the answer may travel in one piece.

        Ends within `call.timeout_s` seconds. When cancelled, it stops the work it started and lets `CancelledError`
        through.

        Raises:
            MemberError: the call ended without a completion.
        """
        ...


class TokenCounter(Protocol):
    """A member's own tokenizer, wherever it is."""

    async def count(self, call: Call, texts: Sequence[str] = ()) -> Sequence[int]:
        """The tokens of the call's prompt, all that its model reads of it but images; then those of each text alone.

        Raises:
            MemberError: they cannot be counted now.
        """
        ...


@dataclass(frozen=True, slots=True)
class MemberProfile:
    """What makes a member a voice of its own: the backend and model that it speaks through, its sampling and its
    system prompt. `price` is what its tokens cost, None when unknown; `family` the kin of its model, None when its name
    tells. `prefills`: what it was shown ahead it need not read again. `context_tokens` is how many tokens a prompt and
    its answer may have together, None when unknown; with `has_tokenizer` its backend can count them. One that
    `cuts_prompts` does so without a word."""

    name: str
    backend: str
    model: str
    sampling: Sampling = field(default_factory=Sampling)
    system: str | None = None
    price: Price | None = None
    family: str | None = None
    prefills: bool = False
    takes_images: bool = True
    context_tokens: int | None = None
    has_tokenizer: bool = False
    cuts_prompts: bool = False

    @property
    def origin(self) -> tuple[str, str]:
        """Backend and model. Members of the same origin are samples of one model."""
        return (self.backend, self.model)

    def voiced(self, call: Call) -> Call:
        """The call as this member hears it.

        Its own sampling fills in what the client left open. Its system prompt comes first, the client's after it,
        and stays out when the member is judging, as does its own setting for reasoning: a verdict has few tokens.
        """
        request = call.request
        own = self.sampling if call.purpose == "answer" else replace(self.sampling, reasoning=None)
        sampling = request.sampling.over(own)
        messages = request.messages
        if self.system is not None and call.purpose == "answer":
            first = messages[0] if messages else None
            if first is not None and first.role in ("system", "developer"):
                joined = replace(first, content=f"{self.system}\n\n{first.text}")
                messages = (joined, *messages[1:])
            else:
                messages = (Message("system", self.system), *messages)
        return replace(call, request=replace(request, messages=messages, sampling=sampling))
