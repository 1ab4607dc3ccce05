"""Writes the bodies of requests to the Gemini API.

Where the call has `reasoning`, an effort is sent as Gemini 3's thinking level, a number of tokens as the thinking
budget of older models.
"""

from __future__ import annotations

from typing import Any

from deployments.providers.gemini.conversation import PROVIDER, conversation
from deployments.providers.requests import refused
from fusion.chat import Call, Reasoning, Request, Tool

_SETTINGS = {
    "temperature": "temperature",
    "top_p": "topP",
    "max_tokens": "maxOutputTokens",
    "seed": "seed",
    "frequency_penalty": "frequencyPenalty",
    "presence_penalty": "presencePenalty",
}

_RESOLUTIONS = {"low": "MEDIA_RESOLUTION_LOW", "high": "MEDIA_RESOLUTION_HIGH"}


def content_body(call: Call) -> dict[str, Any]:
    """Returns the request body for a call. The model and whether to stream are in the request's path.

    Raises:
        MemberRejected: the API does not support what the call asks for.
    """
    request = call.request
    system, contents = conversation(call)
    body: dict[str, Any] = {"contents": contents}
    if system:
        body["systemInstruction"] = {"parts": [{"text": system}]}
    if config := _generation_config(call):
        body["generationConfig"] = config
    if request.tools:
        if request.parallel_tool_calls is False:
            raise refused("parallel_tool_calls", PROVIDER, call, "it cannot be turned off")
        body["tools"] = [{"functionDeclarations": [_declaration(tool) for tool in request.tools]}]
        if calling := _calling_config(request):
            body["toolConfig"] = {"functionCallingConfig": calling}
    return body


def _generation_config(call: Call) -> dict[str, Any]:
    request, sampling = call.request, call.request.sampling
    settings = {name: getattr(sampling, ours) for ours, name in _SETTINGS.items()}
    config = {name: value for name, value in settings.items() if value is not None}
    if sampling.stop:
        config["stopSequences"] = list(sampling.stop)
    if request.response_schema is not None:
        config["responseMimeType"] = "application/json"
        if request.response_schema.schema:
            config["responseJsonSchema"] = dict(request.response_schema.schema)
    if sampling.reasoning is not None:
        config["thinkingConfig"] = _thinking_config(sampling.reasoning, call)
    if resolution := _media_resolution(call):
        config["mediaResolution"] = resolution
    return config


def _thinking_config(wanted: Reasoning, call: Call) -> dict[str, Any]:
    if wanted.max_tokens is not None or wanted.effort == "none":
        return {"thinkingBudget": wanted.max_tokens or 0}
    if wanted.effort in ("xhigh", "max"):
        why = f"the efforts are minimal, low, medium and high, not {wanted.effort}"
        raise refused("reasoning.effort", PROVIDER, call, why)
    return {"thinkingLevel": wanted.effort}


def _media_resolution(call: Call) -> str | None:
    """The resolution of all images, which is one setting of the request."""
    resolutions = {_RESOLUTIONS.get(image.detail or "") for image in call.request.images}
    if len(resolutions) > 1:
        raise refused("image_url.detail", PROVIDER, call, "it must be the same for all images of a request")
    return next(iter(resolutions), None)


def _declaration(tool: Tool) -> dict[str, Any]:
    body: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        body["description"] = tool.description
    if tool.parameters is not None:
        body["parametersJsonSchema"] = dict(tool.parameters)
    return body


def _calling_config(request: Request) -> dict[str, Any] | None:
    _, function, name = (request.tool_choice or "").partition("function:")
    if function:
        return {"mode": "ANY", "allowedFunctionNames": [name]}
    if request.tool_choice in ("required", "none"):
        return {"mode": "ANY" if request.tool_choice == "required" else "NONE"}
    if any(tool.strict for tool in request.tools):
        return {"mode": "VALIDATED"}  # holds calls to their schemas, as ANY does
    return {"mode": "AUTO"} if request.tool_choice else None
