"""Google's Gemini API, `generateContent` and `streamGenerateContent` (https://ai.google.dev/api/generate-content).

Refused before the call: `parallel_tool_calls` set to false, the efforts `xhigh` and `max`, names of participants, an
image's `detail` where the images of one request differ in it, images that are neither base64 `data:` nor `https:` URLs,
images in system messages and tool results, a conversation of system messages alone, tool results that answer no call,
and tool calls in the history whose arguments are not a JSON object.

System messages go to the top, in their order: the API knows no others. Thoughts are kept apart from the answer. An
effort to think with is Gemini 3's thinking level, a number of tokens the older thinking budget. A prompt that is
blocked is an error, an answer that is cut off by a filter is one marked `content_filter`.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from deployments.providers.base import Complaint, InlineImage, image_source, refused
from deployments.providers.errors import CONTEXT_LENGTH_EXCEEDED, error_from_complaint, machine_code, says_too_long
from deployments.providers.lenient_json import count, items, mapping, new_call_id, parsed, text, written
from fusion.chat import (
    Call,
    Completion,
    Delta,
    FinishReason,
    ImagePart,
    Message,
    Reasoning,
    Request,
    Tool,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from fusion.errors import MalformedReply, MemberError, MemberRejected, MemberUnauthorized

_PROVIDER = "Gemini"


_FINISH_REASONS: Mapping[str, FinishReason] = {
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "ESCALATION": "content_filter",
    "PUP_LIMITED_DISABLED": "content_filter",
    "MODEL_ARMOR": "content_filter",
}


# The model broke off, and what there is of an answer is none.
_BROKEN = frozenset(
    {
        "MALFORMED_FUNCTION_CALL",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "MISSING_THOUGHT_SIGNATURE",
        "MALFORMED_RESPONSE",
        "OTHER",
    }
)


# A wrong key comes with the status 400, and so does an account or a country without access.
_KINDS: Mapping[str, type[MemberError]] = {
    "API_KEY_INVALID": MemberUnauthorized,
    "API_KEY_EXPIRED": MemberUnauthorized,
    "FAILED_PRECONDITION": MemberUnauthorized,
}


# Gemini 3 refuses the function calls of a history without the signature that it gave with them. A fused answer's calls
# may be another model's, which have none; this stands in for it (https://ai.google.dev/gemini-api/docs/thought-signatures).
_NO_SIGNATURE = "skip_thought_signature_validator"


_SETTINGS = {
    "temperature": "temperature",
    "top_p": "topP",
    "max_tokens": "maxOutputTokens",
    "seed": "seed",
    "frequency_penalty": "frequencyPenalty",
    "presence_penalty": "presencePenalty",
}


_DETAILS = {"low": "MEDIA_RESOLUTION_LOW", "high": "MEDIA_RESOLUTION_HIGH"}


class GeminiWire:
    """The format of the Gemini API."""

    def headers(self, key: str | None) -> Mapping[str, str]:
        return {} if key is None else {"x-goog-api-key": key}

    def path(self, model: str, *, stream: bool) -> str:
        name = quote(model if "/" in model else f"models/{model}", safe="/-._~")
        return f"{name}:streamGenerateContent?alt=sse" if stream else f"{name}:generateContent"

    def body(self, call: Call, model: str, *, stream: bool) -> Mapping[str, Any]:  # noqa: ARG002
        request = call.request
        system, contents = _conversation(call)
        body: dict[str, Any] = {"contents": contents}
        if system:
            body["systemInstruction"] = {"parts": [{"text": system}]}
        if settings := _generation_config(call):
            body["generationConfig"] = settings
        if request.tools:
            if request.parallel_tool_calls is False:
                raise refused("parallel_tool_calls", _PROVIDER, call, "it cannot be turned off")
            body["tools"] = [{"functionDeclarations": [_declaration(tool) for tool in request.tools]}]
            if choice := _calling(request):
                body["toolConfig"] = {"functionCallingConfig": choice}
        return body

    def completion(self, body: object) -> Completion:
        reader = GeminiStreamReader()
        reader.feed(body)
        return reader.completion()

    def reader(self) -> GeminiStreamReader:
        return GeminiStreamReader()

    def complaint(self, body: object) -> Complaint:
        return complaint_in(body)


def complaint_in(body: object) -> Complaint:
    """What an error body says; `streamGenerateContent` may put it into a list."""
    found = items(body)
    error = mapping(mapping(found[0] if found else body).get("error"))
    details = [mapping(detail) for detail in items(error.get("details"))]
    reason = next((code for detail in details if (code := machine_code(detail.get("reason")))), None)
    status = machine_code(error.get("status"))
    code = reason or status
    if says_too_long(error.get("message")):
        code = CONTEXT_LENGTH_EXCEEDED
    return Complaint(
        code=code,
        status=count(error.get("code")),
        kind=_KINDS.get(reason or "") or _KINDS.get(status or ""),
        retry_after_s=next((s for detail in details if (s := _seconds(detail.get("retryDelay"))) is not None), None),
    )


class GeminiStreamReader:
    """Puts a completion together from a stream's responses, each of which looks like a whole one."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: list[ToolCall] = []
        self._usage: dict[str, Any] = {}
        self._finish_reason: str | None = None

    @property
    def ended(self) -> bool:
        """Never: the stream ends when the response does."""
        return False

    @property
    def usage(self) -> Usage | None:
        return _usage(self._usage)

    def feed(self, chunk: object) -> Delta | None:
        response = mapping(chunk)
        if "error" in response or items(chunk):
            raise error_from_complaint(complaint_in(chunk))
        if not response:
            raise MalformedReply("the reply is not a JSON object")
        self._usage |= mapping(response.get("usageMetadata"))
        candidates = items(response.get("candidates"))
        if not candidates:
            self._raise_if_blocked(response)
            return None
        candidate = mapping(candidates[0])
        self._finish_reason = text(candidate.get("finishReason")) or self._finish_reason
        return self._grown(items(mapping(candidate.get("content")).get("parts")))

    def completion(self) -> Completion:
        if self._finish_reason is None:
            raise MalformedReply("the reply ended before its finish reason")
        if self._finish_reason in _BROKEN:
            raise MalformedReply(f"the model broke off ({self._finish_reason})")
        known = _FINISH_REASONS.get(self._finish_reason, "stop")
        return Completion(
            text="".join(self._text),
            tool_calls=tuple(self._calls),
            finish_reason="tool_calls" if self._calls and known == "stop" else known,
            usage=self.usage,
            reasoning="".join(self._reasoning),
        )

    def _grown(self, parts: Any) -> Delta | None:
        said, reasoning, calls = "", "", list[ToolCallDelta]()
        for part in map(mapping, parts):
            if part.get("thought") is True:
                reasoning += text(part.get("text"))
            else:
                said += text(part.get("text"))
            if part.get("functionCall") is not None:
                call = _tool_call(mapping(part["functionCall"]))
                calls.append(ToolCallDelta(len(self._calls), call.id, call.name, call.arguments))
                self._calls.append(call)
        if not said and not reasoning and not calls:
            return None
        self._text.append(said)
        self._reasoning.append(reasoning)
        return Delta(said, tuple(calls), reasoning)

    def _raise_if_blocked(self, response: Mapping[str, Any]) -> None:
        if reason := mapping(response.get("promptFeedback")).get("blockReason"):
            code = machine_code(reason)
            raise MemberRejected("the prompt was blocked" + (f" ({code})" if code else ""))


def _conversation(call: Call) -> tuple[str, list[dict[str, Any]]]:
    system: list[str] = []
    contents: list[dict[str, Any]] = []
    called: dict[str, str] = {}
    for position, message in enumerate(call.request.messages):
        if message.name is not None and message.role != "tool":
            raise refused(f"messages[{position}].name", _PROVIDER, call)
        if message.role in ("system", "developer"):
            _refuse_images(message, position, call)
            system.append(message.text)
            continue
        called |= {made.id: made.name for made in message.tool_calls}
        role = "model" if message.role == "assistant" else "user"
        parts = (
            [_result(message, called, position, call)] if message.role == "tool" else _parts(message, position, call)
        )
        if not parts:
            continue
        if contents and contents[-1]["role"] == role:
            contents[-1]["parts"] += parts
        else:
            contents.append({"role": role, "parts": parts})
    if not contents:
        raise refused("messages", _PROVIDER, call, "it needs one that says something and is no system message")
    return "\n\n".join(filter(None, system)), contents


def _parts(message: Message, position: int, call: Call) -> list[dict[str, Any]]:
    content = message.content
    parts: list[dict[str, Any]] = []
    if isinstance(content, tuple):
        parts = [_image(part, call) if isinstance(part, ImagePart) else {"text": part.text} for part in content]
    elif content:
        parts = [{"text": content}]
    calls = [_function_call(made, position, call) for made in message.tool_calls]
    if calls:
        calls[0]["thoughtSignature"] = _NO_SIGNATURE
    return parts + calls


def _function_call(made: ToolCall, position: int, call: Call) -> dict[str, Any]:
    try:
        arguments = parsed(made.arguments or "{}")
    except MalformedReply:
        arguments = None
    if not isinstance(arguments, dict):
        where = f"messages[{position}].tool_calls"
        raise refused(where, _PROVIDER, call, "the arguments must be a JSON object") from None
    return {"functionCall": {"id": made.id, "name": made.name, "args": arguments}}


def _result(message: Message, called: Mapping[str, str], position: int, call: Call) -> dict[str, Any]:
    _refuse_images(message, position, call)
    name = called.get(message.tool_call_id or "") or message.name
    if name is None:
        raise refused(f"messages[{position}].tool_call_id", _PROVIDER, call, "it answers no call of the conversation")
    response = {"id": message.tool_call_id, "name": name, "response": {"output": message.text}}
    return {"functionResponse": response}


def _image(part: ImagePart, call: Call) -> dict[str, Any]:
    source = image_source(part, _PROVIDER, call)
    if isinstance(source, InlineImage):
        return {"inlineData": {"mimeType": source.media_type, "data": source.data}}
    media_type, _ = mimetypes.guess_type(urlsplit(source).path)
    return {"fileData": ({"mimeType": media_type} if media_type else {}) | {"fileUri": source}}


def _refuse_images(message: Message, position: int, call: Call) -> None:
    if isinstance(message.content, tuple) and any(isinstance(part, ImagePart) for part in message.content):
        raise refused(f"an image in messages[{position}]", _PROVIDER, call, f"its role is {message.role}")


def _generation_config(call: Call) -> dict[str, Any]:
    request = call.request
    settings = {name: getattr(request.sampling, ours) for ours, name in _SETTINGS.items()}
    config = {name: value for name, value in settings.items() if value is not None}
    if request.sampling.stop:
        config["stopSequences"] = list(request.sampling.stop)
    if request.response_schema is not None:
        config["responseMimeType"] = "application/json"
        if request.response_schema.schema:
            config["responseJsonSchema"] = dict(request.response_schema.schema)
    if request.sampling.reasoning is not None:
        config["thinkingConfig"] = _thinking(request.sampling.reasoning, call)
    if resolution := _resolution(call):
        config["mediaResolution"] = resolution
    return config


def _thinking(wanted: Reasoning, call: Call) -> dict[str, Any]:
    if wanted.max_tokens is not None or wanted.effort == "none":
        return {"thinkingBudget": wanted.max_tokens or 0}
    if wanted.effort in ("xhigh", "max"):
        known = "minimal, low, medium, high are"
        raise refused("reasoning.effort", _PROVIDER, call, f"{wanted.effort} is not known: {known}")
    return {"thinkingLevel": wanted.effort}


def _resolution(call: Call) -> str | None:
    """The one resolution of all images: it is a setting of the request there."""
    parts = [
        part for message in call.request.messages if isinstance(message.content, tuple) for part in message.content
    ]
    details = {_DETAILS.get(part.detail or "") for part in parts if isinstance(part, ImagePart)}
    if len(details) > 1:
        raise refused("image_url.detail", _PROVIDER, call, "it must be the same for all images of a request")
    return next(iter(details), None)


def _declaration(tool: Tool) -> dict[str, Any]:
    body: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        body["description"] = tool.description
    if tool.parameters is not None:
        body["parametersJsonSchema"] = dict(tool.parameters)
    return body


def _calling(request: Request) -> dict[str, Any] | None:
    _, function, name = (request.tool_choice or "").partition("function:")
    if function:
        return {"mode": "ANY", "allowedFunctionNames": [name]}
    if request.tool_choice in ("required", "none"):
        return {"mode": "ANY" if request.tool_choice == "required" else "NONE"}
    if any(tool.strict for tool in request.tools):
        return {"mode": "VALIDATED"}  # what holds calls to their schemas; ANY does so by itself
    return {"mode": "AUTO"} if request.tool_choice else None


def _tool_call(called: Mapping[str, Any]) -> ToolCall:
    name = text(called.get("name"))
    if not name:
        raise MalformedReply("a function call has no name")
    return ToolCall(text(called.get("id")) or new_call_id(), name, written(mapping(called.get("args"))))


def _usage(counted: Mapping[str, Any]) -> Usage | None:
    """Counts that are zero are left out there."""
    names = ("promptTokenCount", "toolUsePromptTokenCount", "candidatesTokenCount", "thoughtsTokenCount")
    prompt, results, said, thought = (count(counted.get(name, 0)) for name in names)
    if "promptTokenCount" not in counted or None in (prompt, results, said, thought):
        return None
    return Usage(
        input_tokens=(prompt or 0) + (results or 0),
        output_tokens=(said or 0) + (thought or 0),
        cached_tokens=count(counted.get("cachedContentTokenCount")),
        reasoning_tokens=count(counted.get("thoughtsTokenCount")),
    )


def _seconds(value: object) -> float | None:
    """A duration in protobuf's JSON form, such as `37.5s`."""
    number = text(value).removesuffix("s")
    return float(number) if number.replace(".", "", 1).isdecimal() and number.isascii() and len(number) < 20 else None
