"""Everything that can go wrong, as one tree.

    FusionError
    ├── InvalidRequest            the client asked for something that cannot be served
    │   ├── UnknownModel
    │   ├── PriceUnknown          a budget is set, and a member has no price
    │   └── BudgetTooSmall        the budget pays for no quorum
    ├── MemberError               a call to a member ended without a completion
    │   ├── MemberTimeout         no answer in time
    │   ├── MemberUnavailable     refused, reset, dead, or not started
    │   │   └── BreakerOpen       it failed too often, and is left alone for a while
    │   ├── MemberOverloaded      it asked for fewer calls
    │   │   └── LimitReached      our own limit on calls to it leaves no room
    │   ├── MemberUnauthorized    our key or account was refused
    │   ├── MemberRejected        it does not accept this request
    │   │   ├── TakesNoImages     the request has images
    │   │   └── ContextExceeded   the prompt and its answer are longer than its context
    │   ├── OverBudget            the call was not made: the request's budget is used up
    │   ├── MalformedReply        what came back is not a reply
    │   └── EmptyCompletion       a reply without text and without tool calls
    ├── NoQuorum                  too few candidates to go on
    ├── InvalidVerdict            the judge model's words hold no verdict
    ├── NoValidAnswer             no answer has the form that was asked for
    └── JudgeInterrupted          the judge model broke off when part of its answer had been sent

Errors cross process boundaries, so each survives a pickle round trip: the message is the only positional argument,
all else is an attribute. No message holds a key, a prompt, or what a member wrote.
"""

from __future__ import annotations

import traceback
from typing import ClassVar

from fusion.chat import Completion, Usage
from fusion.results import Candidate, Failure


class FusionError(Exception):
    """Base of the tree.

    `code` is stable and machine readable, `retryable` says whether the same call may work later.
    """

    code: ClassVar[str] = "internal_error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def as_failure(self) -> Failure:
        """Return the error as a value that keeps no traceback, and so no frames, alive."""
        return Failure(self.code, self.message, self.retryable)


class InvalidRequest(FusionError):
    """The client's request is wrong. `param` is the path of the offending field, such as `messages[0].role`."""

    code = "invalid_request"

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class UnknownModel(InvalidRequest):
    """`model` is neither a preset nor a member."""

    code = "model_not_found"


class PriceUnknown(InvalidRequest):
    """A budget is set, and what a call to a member costs is not known."""

    code = "price_unknown"


class BudgetTooSmall(InvalidRequest):
    """The budget does not pay for a quorum and a judge. `least_usd` is what would do, in US dollars."""

    code = "budget_too_small"

    def __init__(self, message: str, *, param: str | None = None, least_usd: float | None = None) -> None:
        super().__init__(message, param=param)
        self.least_usd = least_usd


class MemberError(FusionError):
    """A call to a member ended without a completion. What is not known of it is None."""

    code = "member_failed"

    def __init__(self, message: str, *, member: str | None = None) -> None:
        super().__init__(message)
        self.member = member
        self.usage: Usage | None = None
        """The tokens that the call used nevertheless, as the backend counted them."""
        self.http_status: int | None = None
        """The status of the remote API's response."""
        self.provider_code: str | None = None
        """The remote API's own short code for what went wrong, such as `model_not_found`."""
        self.connected: bool | None = None
        """Whether the remote API accepted a connection."""
        self.retry_after_s: float | None = None
        """When the next call may be made, in seconds from now."""

    def as_failure(self) -> Failure:
        rejected = isinstance(self, MemberRejected)
        return Failure(
            self.code,
            self.message,
            self.retryable,
            self.retry_after_s,
            self.usage,
            rejected,
            self.http_status,
            self.provider_code,
        )


class MemberTimeout(MemberError):
    """The member did not answer in the time it was given."""

    code = "timeout"
    retryable = True


class MemberUnavailable(MemberError):
    """The member cannot be reached: refused, reset, dead, not started, or answering with a server error."""

    code = "unavailable"
    retryable = True


class MemberOverloaded(MemberError):
    """The member asks for fewer calls. `retry_after_s` is its own word on when, in seconds, where it gave one."""

    code = "overloaded"
    retryable = True

    def __init__(self, message: str, *, member: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message, member=member)
        self.retry_after_s = retry_after_s


class BreakerOpen(MemberUnavailable):
    """The member failed too often and is left alone for a while: the call was not made. `retry_after_s` is when the
    next one may be, in seconds, 0 when another call is finding out now."""

    code = "breaker_open"
    retryable = False

    def __init__(self, message: str, *, member: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message, member=member)
        self.retry_after_s = retry_after_s


class LimitReached(MemberOverloaded):
    """Our own limit on calls to the member leaves no room in time: the call was not made."""

    code = "limit_reached"
    retryable = False


class MemberUnauthorized(MemberError):
    """The member's backend refused our key or account."""

    code = "unauthorized"


class MemberRejected(MemberError):
    """The member's backend does not accept this request."""

    code = "rejected"


class TakesNoImages(MemberRejected):
    """The request has images, and the member's model takes none. Without a member it is the panel that takes none."""

    code = "images_not_supported"


class ContextExceeded(MemberRejected):
    """The prompt and its answer are longer than the member's context. Without a member it is the panel's."""

    code = "context_length_exceeded"


class OverBudget(MemberError):
    """What is left of the request's budget does not pay for the call, which was not made."""

    code = "over_budget"


class MalformedReply(MemberError):
    """What came back is not a reply: not JSON, not the documented shape, or cut off before its end."""

    code = "malformed_reply"
    retryable = True


class EmptyCompletion(MemberError):
    """The member answered without text and without tool calls."""

    code = "empty_completion"
    retryable = True


class NoQuorum(FusionError):
    """Too few candidates to go on.

    `candidates` holds every member's outcome; `timed_out` says whether the deadline ended the wait (or else failures
    made the quorum unreachable).
    """

    code = "no_quorum"
    retryable = True

    def __init__(self, message: str, *, candidates: tuple[Candidate, ...] = (), timed_out: bool = False) -> None:
        super().__init__(message)
        self.candidates = candidates
        self.timed_out = timed_out


class InvalidVerdict(FusionError):
    """The judge model's words hold no verdict about the candidates."""

    code = "invalid_verdict"


class NoValidAnswer(FusionError):
    """Neither a candidate nor a judge model gave an answer of the form that was asked for."""

    code = "no_valid_answer"
    retryable = True


class JudgeInterrupted(FusionError):
    """The judge model broke off when part of its answer had already been sent, so no other answer can replace it.

    `partial` is that part when it was the deadline that ended it, None when the judge model failed.
    """

    code = "judge_interrupted"
    retryable = True

    def __init__(self, message: str, *, partial: Completion | None = None) -> None:
        super().__init__(message)
        self.partial = partial


def whereabouts(error: BaseException) -> str:
    """An error's type and the line that raised it, for a log. Its message stays out, for it may hold what a client or
    a member wrote."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"


def unexpected(error: Exception, member: str) -> MemberUnavailable:
    """What an error outside of this tree means for the member that raised it."""
    return MemberUnavailable(f"unexpected {type(error).__name__}", member=member)
