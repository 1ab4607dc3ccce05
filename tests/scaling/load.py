"""Clients that ask one after another, as many as wanted, and what became of each request."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from openai import AsyncOpenAI, OpenAIError

HUNG_AFTER_S = 60.0
"""A request that takes longer is counted as hung."""

OK = "200"
REFUSED = "429"
_PAUSE_S = 0.1  # after a failure, so that a dead service is not asked in circles


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request: when it began and ended (seconds, on `time.monotonic`'s clock) and how: an HTTP status, the name of
    a client's error, or `hung`. `retrying` says that an OpenAI client with its own retries made it."""

    began_at: float
    ended_at: float
    how: str
    retrying: bool = False

    @property
    def took_s(self) -> float:
        return self.ended_at - self.began_at


@dataclass(slots=True)
class Load:
    """Requests for `body` to a service. Use it as an async context manager."""

    url: str
    body: dict[str, Any]
    key: str
    outcomes: list[Outcome] = field(default_factory=list[Outcome])
    in_flight: int = 0
    _clients: list[asyncio.Task[None]] = field(default_factory=list[Any])
    _session: Any = None

    async def __aenter__(self) -> Load:
        timeout = aiohttp.ClientTimeout(total=HUNG_AFTER_S)
        headers = {"authorization": f"Bearer {self.key}"}
        connector = aiohttp.TCPConnector(limit=0)
        self._session = aiohttp.ClientSession(headers=headers, timeout=timeout, connector=connector)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.clients(0)
        await self._session.close()

    async def clients(self, count: int) -> None:
        """From now on so many clients. Those that are too many end with their request."""
        while len(self._clients) < count:
            self._clients.append(asyncio.create_task(self._keep_asking(self._once)))
        leaving = self._clients[count:]
        del self._clients[count:]
        for task in leaving:
            task.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)

    def add_retrying_client(self) -> None:
        """One more client: OpenAI's own, with the retries that it makes by default. It ends with `clients(0)`."""
        client = AsyncOpenAI(base_url=f"{self.url}/v1", api_key=self.key, timeout=HUNG_AFTER_S)
        self._clients.insert(0, asyncio.create_task(self._keep_asking(lambda: self._through(client))))

    async def _keep_asking(self, ask: Callable[[], Any]) -> None:
        leaving = False
        while not leaving:
            asking = asyncio.create_task(ask())
            try:
                pause_s = await asyncio.shield(asking)
            except asyncio.CancelledError:
                leaving = True
                await asking
            else:
                await asyncio.sleep(pause_s)

    async def _once(self) -> float:
        """Ask, and how long to wait then."""
        began_at, pause_s = time.monotonic(), 0.0
        self.in_flight += 1
        try:
            async with self._session.post(f"{self.url}/v1/chat/completions", json=self.body) as reply:
                content = await reply.read()
                how = str(reply.status)
                if reply.status == 200 and self.body.get("stream") and not content.endswith(b"data: [DONE]\n\n"):
                    how = "cut off"
                if reply.status != 200:
                    pause_s = float(reply.headers.get("retry-after", _PAUSE_S))
        except TimeoutError:
            how = "hung"
        except aiohttp.ClientError as error:
            how, pause_s = type(error).__name__, _PAUSE_S
        finally:
            self.in_flight -= 1
        self.outcomes.append(Outcome(began_at, time.monotonic(), how))
        return pause_s

    async def _through(self, client: AsyncOpenAI) -> float:
        began_at, how = time.monotonic(), OK
        try:
            await client.chat.completions.create(**self.body | {"stream": False})
        except OpenAIError as error:
            how = type(error).__name__
        self.outcomes.append(Outcome(began_at, time.monotonic(), how, retrying=True))
        return 0.0


def counted(outcomes: Iterable[Outcome]) -> Counter[str]:
    """How many ended how."""
    return Counter(outcome.how for outcome in outcomes)


def quantile(outcomes: Iterable[Outcome], q: float) -> float | None:
    """A quantile of how long answered requests took, in seconds; None when none was answered."""
    took = sorted(outcome.took_s for outcome in outcomes if outcome.how == OK)
    return took[min(len(took) - 1, int(q * len(took)))] if took else None
