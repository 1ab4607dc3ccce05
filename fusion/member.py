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

        With `emit`, every piece of the answer is passed to it as it comes, and the pieces add up to the completion that
        is returned. Without it the answer may travel in one piece.

        Ends within `call.timeout_s` seconds. When cancelled, it stops the work it started and lets `CancelledError`
        through.

        Raises:
            MemberError: the call ended without a completion.
        """
        ...


class TokenCounter(Protocol):
    """A member's own tokenizer, wherever it is."""

    async def count(self, call: Call, texts: Sequence[str] = ()) -> Sequence[int]:
        """Count the tokens of the call's prompt, all that its model reads of it but images; then those of each text.

        Raises:
            MemberError: they cannot be counted now.
        """
        ...


@dataclass(frozen=True, slots=True)
class MemberProfile:
    """What a member is, beyond the means to call it."""

    name: str
    """Its name in the pool."""
    backend: str
    """The name of the backend that it speaks through."""
    model: str
    """The model's name at that backend."""
    sampling: Sampling = field(default_factory=Sampling)
    """Fills in what the client leaves open."""
    system: str | None = None
    """The member's own system prompt, which comes before the client's."""
    price: Price | None = None
    """What its tokens cost, None when unknown."""
    family: str | None = None
    """The family of its model, such as `llama`; None when the model's name tells it."""
    supports_prefill: bool = False
    """Whether its backend keeps what it computed of a prompt for prompts that begin alike."""
    takes_images: bool = True
    """Whether its model takes images."""
    context_tokens: int | None = None
    """The tokens that a prompt and its answer may have together, None when unknown."""
    has_tokenizer: bool = False
    """Whether its backend can count a prompt's tokens."""
    truncates_silently: bool = False
    """Whether its backend cuts off a prompt that is too long and reports no error."""

    @property
    def origin(self) -> tuple[str, str]:
        """Backend and model. Members with an equal origin are samples of one model."""
        return (self.backend, self.model)

    def apply_to(self, call: Call) -> Call:
        """Return the call as the member's backend gets it.

        The member's sampling fills in what the client left open, and its system prompt comes before the client's. Where
        the member judges, its system prompt stays out, and its setting for reasoning too: a verdict has few tokens.
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
