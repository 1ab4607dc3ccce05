"""What an API looks like on the wire, as one object that knows no network.

A format turns a `Call` into a request, and what comes back into values or errors. It drops nothing silently: what the
provider cannot do is a `MemberRejected` that names the parameter and the provider, before the call is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from deployments.egress.images import DATA_URL
from fusion.chat import Call, Completion, Delta, ImagePart, Usage
from fusion.errors import MemberError, MemberRejected

Api = Literal["openai", "anthropic", "gemini"]


@dataclass(frozen=True, slots=True)
class Complaint:
    """What an error body says: a machine-readable code, the HTTP status that it stands for, the kind of error where
    that is not what the status says, and when to come back."""

    code: str | None = None
    status: int | None = None
    kind: type[MemberError] | None = None
    retry_after_s: float | None = None


class StreamReader(Protocol):
    """Puts a completion together from the documents of one stream."""

    @property
    def ended(self) -> bool:
        """Whether the provider has said that the stream is over."""
        ...

    @property
    def usage(self) -> Usage | None:
        """What the provider has said so far of the tokens used."""
        ...

    def feed(self, chunk: object) -> Delta | None:
        """What the next document adds to the answer, None when it adds nothing.

        Raises:
            MemberError: the document is an error, or not of the documented shape.
        """
        ...

    def completion(self) -> Completion:
        """The whole answer.

        Raises:
            MalformedReply: the stream ended before its finish reason.
        """
        ...


class WireFormat(Protocol):
    """One provider's API. Paths are relative to a base URL that ends in the API's version, such as `/v1`."""

    def headers(self, key: str | None) -> Mapping[str, str]:
        """The headers of every request."""
        ...

    def path(self, model: str, *, stream: bool) -> str: ...

    def body(self, call: Call, model: str, *, stream: bool) -> Mapping[str, Any]:
        """The request's body.

        Raises:
            MemberRejected: the provider cannot do what the call asks for.
        """
        ...

    def completion(self, body: object) -> Completion:
        """The completion in a response's body.

        Raises:
            MemberError: the body is an error, or not of the documented shape.
        """
        ...

    def reader(self) -> StreamReader:
        """A reader for one stream."""
        ...

    def complaint(self, body: object) -> Complaint:
        """What an error body says."""
        ...


@dataclass(frozen=True, slots=True)
class InlineImage:
    """An image in the request itself, as base64."""

    media_type: str
    data: str


def image_source(part: ImagePart, provider: str, call: Call) -> InlineImage | str:
    """An image's own bytes, or the https URL that the provider fetches it from.

    Raises:
        MemberRejected: the URL is neither.
    """
    if match := DATA_URL.match(part.url):
        return InlineImage(match[1].lower(), part.url[match.end() :])
    if part.url[:8].lower() == "https://":
        return part.url
    raise refused("image_url", provider, call, "an image must be a base64 data: URL or an https: URL")


def refused(parameter: str, provider: str, call: Call, why: str = "there is no such parameter") -> MemberRejected:
    """The error for what a provider cannot do."""
    return MemberRejected(f"{parameter} is not possible with {provider}: {why}", member=call.member)
