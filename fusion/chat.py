"""What goes to a member and what comes back: frozen, picklable, and free of any framework.

A request's messages and settings follow OpenAI's chat completions in meaning, not in shape: wire formats are the
business of `deployments/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Role = Literal["system", "developer", "user", "assistant", "tool"]


FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


@dataclass(frozen=True, slots=True)
class TextPart:
    """A piece of text in a message."""

    text: str


@dataclass(frozen=True, slots=True)
class ImagePart:
    """An image in a message: a `data:` or `https:` URL and OpenAI's `detail`."""

    url: str
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function that the model wants called; `arguments` is the JSON text it wrote, kept byte for byte."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str | tuple[TextPart | ImagePart, ...] | None = None
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None

    @property
    def text(self) -> str:
        """The message's text parts, joined; images are left out."""
        if isinstance(self.content, tuple):
            return "\n".join(part.text for part in self.content if isinstance(part, TextPart))
        return self.content or ""


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call; `parameters` is a JSON schema."""

    name: str
    description: str | None = None
    parameters: Mapping[str, Any] | None = None
    strict: bool | None = None


@dataclass(frozen=True, slots=True)
class JsonSchema:
    """The schema that an answer must follow. An empty `schema` asks for any JSON object."""

    name: str = "answer"
    schema: Mapping[str, Any] = field(default_factory=dict[str, Any])
    strict: bool | None = None


@dataclass(frozen=True, slots=True)
class Reasoning:
    """How much a model may think before it answers: by an effort, or by a number of tokens; one of the two is set."""

    effort: Effort | None = None
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn; None leaves a setting to the member, then to the backend."""

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] | None = None
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    reasoning: Reasoning | None = None

    def over(self, base: Sampling) -> Sampling:
        """These settings, with `base` filling in what they leave open."""
        if self == _UNSET:
            return base
        mine = {name: value for name in Sampling.__slots__ if (value := getattr(self, name)) is not None}
        return replace(base, **mine)


_UNSET = Sampling()


@dataclass(frozen=True, slots=True)
class Request:
    """What the client wants answered, the same for every member."""

    messages: tuple[Message, ...]
    sampling: Sampling = _UNSET
    tools: tuple[Tool, ...] = ()
    tool_choice: str | None = None
    """`auto`, `none`, `required`, or the name of the one function to call as `function:NAME`."""
    parallel_tool_calls: bool | None = None
    response_schema: JsonSchema | None = None

    @property
    def images(self) -> tuple[ImagePart, ...]:
        """The images of all messages."""
        contents = [message.content for message in self.messages if isinstance(message.content, tuple)]
        return tuple(part for content in contents for part in content if isinstance(part, ImagePart))


@dataclass(frozen=True, slots=True)
class Call:
    """One call to one member."""

    member: str
    """The member that is asked."""
    request: Request
    """What it is asked."""
    timeout_s: float
    """How long the call may take, in seconds: what is left of the request's deadline when it is made."""
    purpose: Literal["answer", "judge", "prefill"] = "answer"
    """`judge` leaves the member's own system prompt out. `prefill` has it read what it will be asked to judge; what it
    writes is dropped."""
    trace_headers: tuple[tuple[str, str], ...] = ()
    """W3C's trace context for what the call reaches over HTTP; empty without tracing."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the backend counted them.

    `cached_tokens` are those of the input that it read from a cache, `reasoning_tokens` those of the output that are no
    part of the answer; both are counted in the totals, and None if the backend did not report them. A sum adds up what
    was reported.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            _sum_of_known(self.cached_tokens, other.cached_tokens),
            _sum_of_known(self.reasoning_tokens, other.reasoning_tokens),
        )


def _sum_of_known(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else one + other


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of the tool call at `index`: the first one names it, later ones add to its arguments."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class Delta:
    """What a stream adds to an answer, and to the reasoning that comes before it."""

    text: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    reasoning: str = ""


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole answer."""

    text: str = ""
    """The answer's text."""
    tool_calls: tuple[ToolCall, ...] = ()
    """The functions that the model wants called."""
    finish_reason: FinishReason = "stop"
    """Why the answer ends."""
    usage: Usage | None = None
    """The tokens that the backend reported, None when it reported none: they are never guessed."""
    answered_by: str | None = None
    """The member that stood in for the one that was asked, None when that one answered."""
    reasoning: str = ""
    """What the model showed of its thinking, never part of `text`."""
