"""The interface of a provider's wire format, which does no I/O.

A format turns a `Call` into a request, and responses into values of `fusion.chat` or errors of `fusion.errors`. It
drops nothing silently: what the provider cannot do is a `MemberRejected` that names the parameter and the provider,
raised before the call is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from fusion.chat import Call, Completion, Delta, Usage
from fusion.errors import MemberError

Api = Literal["openai", "anthropic", "gemini"]


@dataclass(frozen=True, slots=True)
class ErrorDetails:
    """What the body of an error response says. `kind` is set where the body says more than the HTTP status does."""

    code: str | None = None
    status: int | None = None
    kind: type[MemberError] | None = None
    retry_after_s: float | None = None


class StreamReader(Protocol):
    """Reads one streamed response, document by document."""

    @property
    def ended(self) -> bool:
        """Whether a document has marked the end of the stream."""
        ...

    @property
    def usage(self) -> Usage | None:
        """The tokens used, as far as the stream has reported them."""
        ...

    def feed(self, chunk: object) -> Delta | None:
        """Reads the next document and returns what it adds to the answer, None when it adds nothing.

        Raises:
            MemberError: the document is an error, or not of the documented shape.
        """
        ...

    def completion(self) -> Completion:
        """Returns the whole answer.

        Raises:
            MalformedReply: the stream ended before its finish reason.
        """
        ...


class WireFormat(Protocol):
    """One provider's API. Paths are relative to a base URL that ends in the API's version, such as `/v1`."""

    def headers(self, key: str | None) -> Mapping[str, str]:
        """Returns the headers of every request."""
        ...

    def path(self, model: str, *, stream: bool) -> str:
        """Returns the path, and query, that a request is sent to."""
        ...

    def body(self, call: Call, model: str, *, stream: bool) -> Mapping[str, Any]:
        """Returns a request's body, which can be written as JSON.

        Raises:
            MemberRejected: the provider cannot do what the call asks for.
        """
        ...

    def completion(self, body: object) -> Completion:
        """Reads the completion in a response's body.

        Raises:
            MemberError: the body is an error, or not of the documented shape.
        """
        ...

    def stream_reader(self) -> StreamReader:
        """Returns a reader for one stream."""
        ...

    def error_details(self, body: object) -> ErrorDetails:
        """Reads the body of an error response, whatever its shape."""
        ...
