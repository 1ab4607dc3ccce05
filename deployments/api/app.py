"""The HTTP API as an ASGI application. Serve gives every request an id and puts `x-request-id` on every response."""

from __future__ import annotations

import time
from typing import Any

from pydantic_core import to_json
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from deployments.api.auth import Limits, authenticate
from deployments.api.chat_endpoint import ChatEndpoint, Orchestrator
from deployments.api.errors import error_body, error_headers, status_of
from deployments.egress.images import ImageUrls
from fusion.errors import FusionError, InvalidRequest


def http_api(orchestrator: Orchestrator, limits: Limits, images: ImageUrls | None = None) -> ASGIApp:
    """Returns the application: chat completions, models, health."""
    created = int(time.time())

    async def models(request: HttpRequest) -> Response:
        authenticate(request.scope, limits)
        return _json_response(orchestrator.catalogue.models(created))

    async def model(request: HttpRequest) -> Response:
        authenticate(request.scope, limits)
        wanted = request.path_params["model"]
        for entry in orchestrator.catalogue.models(created)["data"]:
            if entry["id"] == wanted:
                return _json_response(entry)
        error = InvalidRequest(f"there is no model {wanted!r}", param="model")
        return _json_response(error_body(error), 404)

    async def alive(_: HttpRequest) -> Response:
        return _json_response({"status": "alive"})

    async def ready(_: HttpRequest) -> Response:
        state = await orchestrator.readiness()
        return _json_response(state, 200 if state["ready"] else 503)

    return Starlette(
        routes=[
            Route("/v1/chat/completions", ChatEndpoint(orchestrator, limits, images or ImageUrls()), methods=["POST"]),
            Route("/v1/models", models),
            Route("/v1/models/{model:path}", model),
            Route("/healthz", alive),
            Route("/readyz", ready),
        ],
        exception_handlers={FusionError: _error_response, 404: _unknown_path, 405: _unknown_path},
    )


async def _error_response(_: HttpRequest, error: Exception) -> Response:
    assert isinstance(error, FusionError)
    return _json_response(error_body(error), status_of(error), error_headers(error))


async def _unknown_path(request: HttpRequest, error: Exception) -> Response:
    status = getattr(error, "status_code", 404)
    body = error_body(InvalidRequest(f"there is no {request.method} {request.url.path}"))
    return _json_response(body, status, dict(getattr(error, "headers", None) or {}))


def _json_response(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(to_json(body), status, headers, media_type="application/json")
