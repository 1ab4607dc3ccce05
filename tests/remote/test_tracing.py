"""The spans of a fused request, as a collector gets them."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from deployments.api.chat_endpoint import REQUEST_HEADERS
from deployments.api.chat_request import parse_chat
from deployments.judge.instrumentation import Instrumentation
from deployments.observability.tracing.provider import Tracing
from deployments.observability.tracing.settings import TracingSettings
from deployments.providers.backend import RemoteBackend
from deployments.providers.chain import TracedRequests, replica_side
from deployments.providers.member import RemoteMember
from deployments.recordings.fused_request import Account
from deployments.resilience.limits import Limiter, LimitSettings
from deployments.resilience.retries import RetrySettings
from deployments.secrets import Secret
from fusion.chat import Message, Request, Sampling, Usage
from fusion.errors import MemberUnavailable
from fusion.member import MemberProfile
from fusion.presets import Pool
from fusion.pricing import Price
from fusion.results import Fused
from fusion.runtime.runner import fuse
from fusion.testing import Answer, Fail, Hang, ScriptedMember
from tests.support.collector import Collector, SentSpan, collecting, tree
from tests.support.panels import favouring, scene

CLIENTS = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ADA = MemberProfile("ada", "api", "ada-large", Sampling(temperature=0.3), "SECRET system", Price(1.0, 2.0))
CHAT = parse_chat(b'{"model": "fusion/test", "messages": [{"role": "user", "content": "hi"}]}')


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


class _Api(BaseHTTPRequestHandler):
    """Fails once, then answers."""

    heard: list[dict[str, str]]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.heard.append({name.lower(): value for name, value in self.headers.items()})
        message = {"role": "assistant", "content": "SECRET four"}
        usage = {"prompt_tokens": 20, "completion_tokens": 3}
        body: dict[str, Any] = {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}
        content = json.dumps(body if len(self.heard) > 1 else {}).encode()
        self.send_response(200 if len(self.heard) > 1 else 500)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def api() -> Iterator[tuple[str, list[dict[str, str]]]]:
    handler = type("Api", (_Api,), {"heard": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1", handler.heard
    server.shutdown()
    server.server_close()


async def traced(collector: Collector, url: str, **more: Any) -> list[SentSpan]:
    """The spans of a request to a panel of one remote member, one that fails and one that hangs."""
    await answered(collector.url, url, **more)
    return await asyncio.to_thread(collector.until, lambda spans: sum(span.name == "POST" for span in spans) == 2)


async def answered(endpoint: str, url: str, *, content: bool = False, **more: Any) -> Fused:
    settings = TracingSettings(endpoint, content=content, providers={"api": "openai"}, **more)
    remote = RemoteMember(RemoteBackend(url), ADA.model)
    attempts = Tracing(settings, "replica")
    chat = f"{url}/chat/completions"
    traced = TracedRequests(attempts, chat, chat)
    ada = replica_side(
        remote, RetrySettings(first_backoff_s=0.01), None, Limiter(LimitSettings()), traced, random.Random(1)
    )
    instrumentation = Instrumentation(None, settings)
    members = {
        "ada": ada,
        "bob": ScriptedMember(Fail(MemberUnavailable("no connection"))),
        "cyd": ScriptedMember(Hang()),
        "dan": ScriptedMember(Answer("SECRET five", usage=None)),
        "judge": ScriptedMember(favouring("SECRET four")),
    }
    request = Request((Message("user", "SECRET prompt"),))
    task, pool = scene(members, quorum=2, grace=0.2, request=request, profiles={"ada": ADA})
    REQUEST_HEADERS.set([(b"traceparent", CLIENTS), (b"tracestate", b"vendor=1"), (b"authorization", b"SECRET key")])
    started_at = asyncio.get_running_loop().time()
    account = Account()
    with instrumentation.observe(task, CHAT, account, started_at) as scope:
        members = {name: instrumentation.traced(member, pool.profiles) for name, member in pool.members.items()}
        traced_pool = Pool(members, pool.profiles)
        fused = await fuse(task, traced_pool, started_at=started_at, observers=(account, *scope.observers))
        scope.answered(fused)
    await remote.aclose()
    await asyncio.to_thread(instrumentation.close)
    await asyncio.to_thread(attempts.close)
    return fused


async def test_a_fused_request_is_one_trace(collector: Collector, api: tuple[str, list[dict[str, str]]]) -> None:
    url, heard = api
    spans = await traced(collector, url)
    assert {span.trace_id for span in spans} == {"0af7651916cd43dd8448eb211c80319c"}
    panel = [("chat ada-large", ["POST", "POST"]), "chat bob", "chat cyd", "chat dan"]
    judge = ("judge", ["chat judge"])
    assert tree(spans, "b7ad6b7169203331") == [("invoke_workflow fusion/test", [judge, ("panel", panel)])]
    # The API was told of each attempt's own span.
    attempts = {span.span_id: span for span in spans if span.name == "POST"}
    assert [
        attempts[told["traceparent"].split("-")[2]].attributes.get("http.request.resend_count") for told in heard
    ] == [
        None,
        1,
    ]
    assert [told["tracestate"] for told in heard] == ["vendor=1", "vendor=1"]


async def test_spans_tell_of_tokens_cost_and_outcome(
    collector: Collector, api: tuple[str, list[dict[str, str]]]
) -> None:
    spans = await traced(collector, api[0], service_name="my-fusion", resource={"deployment.environment.name": "test"})
    by_name = {span.name: span for span in spans if span.name != "POST"}
    ada = by_name["chat ada-large"]
    assert (ada.kind, ada.failed) == ("client", False)
    told = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "ada-large",
        "gen_ai.request.temperature": 0.3,
        "gen_ai.usage.input_tokens": 20,
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.output.type": "text",
        "fusion.member": "ada",
        "fusion.backend": "api",
        "fusion.purpose": "answer",
        "fusion.cost_usd": pytest.approx((20 + 2 * 3) / 1e6),
        "fusion.outcome": "answered",
    }
    assert ada.attributes == told
    bob, cyd, judge = by_name["chat bob"], by_name["chat cyd"], by_name["chat judge"]
    assert (bob.failed, bob.attributes["error.type"], bob.attributes["fusion.outcome"]) == (
        True,
        "unavailable",
        "failed",
    )
    assert (cyd.failed, cyd.attributes["fusion.outcome"]) == (False, "cancelled")
    assert "gen_ai.usage.input_tokens" not in by_name["chat dan"].attributes  # nobody said
    assert (judge.attributes["fusion.purpose"], judge.attributes["gen_ai.output.type"]) == ("judge", "json")
    assert by_name["judge"].attributes["fusion.winner"] == "ada"
    assert by_name["panel"].attributes["fusion.answered"] == 2
    root = by_name["invoke_workflow fusion/test"]
    assert (root.kind, root.attributes["fusion.outcome"], root.attributes["fusion.winner"]) == (
        "server",
        "answered",
        "ada",
    )
    assert root.attributes["gen_ai.usage.input_tokens"] == Usage(20 + 10, 0).input_tokens
    assert root.resource["service.name"] == "my-fusion"
    assert root.resource["deployment.environment.name"] == "test"
    failed, good = sorted((span for span in spans if span.name == "POST"), key=lambda span: not span.failed)
    assert (failed.attributes["http.response.status_code"], failed.attributes["error.type"]) == (500, "unavailable")
    assert good.attributes["url.full"] == f"{api[0]}/chat/completions"
    assert good.attributes["server.address"] == "127.0.0.1"


async def test_prompts_and_answers_are_in_spans_only_if_that_is_asked_for(
    collector: Collector, api: tuple[str, list[dict[str, str]]]
) -> None:
    await traced(collector, api[0])
    assert b"SECRET" not in collector.raw


async def test_prompts_and_answers_are_in_the_conventions_form(
    collector: Collector, api: tuple[str, list[dict[str, str]]]
) -> None:
    spans = await traced(collector, api[0], content=True)
    ada = next(span for span in spans if span.name == "chat ada-large")
    assert json.loads(ada.attributes["gen_ai.input.messages"]) == [
        {"role": "system", "parts": [{"type": "text", "content": "SECRET system"}]},
        {"role": "user", "parts": [{"type": "text", "content": "SECRET prompt"}]},
    ]
    assert json.loads(ada.attributes["gen_ai.output.messages"]) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "SECRET four"}], "finish_reason": "stop"}
    ]
    assert b"SECRET key" not in collector.raw


async def test_a_client_that_does_not_sample_is_not_traced_but_passed_on(
    collector: Collector, api: tuple[str, list[dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, heard = api
    monkeypatch.setattr("tests.remote.test_tracing.CLIENTS", CLIENTS[:-1] + b"0")
    await answered(collector.url, url)
    await asyncio.sleep(1.5)  # longer than spans are held back
    assert collector.spans == []
    assert {told["traceparent"][-2:] for told in heard} == {"00"}
    assert {told["traceparent"][3:35] for told in heard} == {"0af7651916cd43dd8448eb211c80319c"}


async def test_the_collector_is_sent_the_headers_that_open_it(
    collector: Collector, api: tuple[str, list[dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLLECTOR", "x-api-key=a%20key, x-tenant=7")
    await traced(collector, api[0], headers=Secret(env="COLLECTOR"))
    assert {(sent["x-api-key"], sent["x-tenant"]) for sent in collector.headers} == {("a key", "7")}


async def test_a_collector_that_is_away_changes_nothing(api: tuple[str, list[dict[str, str]]]) -> None:
    fused = await answered("http://127.0.0.1:9/v1/traces", api[0])
    assert fused.completion.text == "SECRET four"
