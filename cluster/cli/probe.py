"""Probes every remote model with three short requests and shows the results. Needs no Ray cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

from rich import box
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from cluster.cli.output import notify, say, show, stderr, stdout
from cluster.config.backends import RemoteBackendConfig, VllmBackendConfig
from cluster.config.members import MemberConfig
from cluster.config.schema import ClusterConfig
from deployments.providers.member import RemoteMember
from deployments.secrets import MissingSecret
from fusion.chat import Call, Completion, Message, Request, Sampling, Tool
from fusion.errors import (
    EmptyCompletion,
    MalformedReply,
    MemberError,
    MemberRejected,
    MemberTimeout,
    MemberUnauthorized,
)
from fusion.member import Emit

TOTAL_S = 30.0
"""Time limit of all probes together."""


MAX_CONCURRENT_CALLS = 8
"""Calls to one backend at the same time, unless its limits allow fewer."""


_PLAIN_WIDTH = 1000  # one line per model


_QUESTION = Request((Message("user", "Reply with the one word: ok"),))


_TOOL = Tool("current_time", "Tells the time of day", {"type": "object", "properties": {}})


# For APIs that require a limit: fits short contexts and leaves room for some reasoning.
_ANSWER_TOKENS = 1024


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What probing found out about one model of a backend. None stands for unknown."""

    members: tuple[str, ...]
    """The members that use the model."""
    backend: str
    price_known: bool
    """Whether each of the members has a configured price."""
    probed: bool = True
    """False for engines of our own."""
    reachable: bool | None = None
    key_valid: bool | None = None
    model_known: bool | None = None
    streams: bool | None = None
    tools: bool | None = None
    latency_ms: float | None = None
    """Until the end of the plain response; None without one."""
    notes: tuple[str, ...] = ()
    """What failed, in the words of `fusion.errors`."""

    @property
    def passed(self) -> bool:
        """Whether the model answered, or is not probed."""
        return self.latency_ms is not None or not self.probed


async def probe(
    config: ClusterConfig, on_result: Callable[[ProbeResult], None] = lambda _: None, total_s: float = TOTAL_S
) -> list[ProbeResult]:
    """Probes every remote model, all at the same time, within `total_s` seconds.

    Calls `on_result` with each result as it arrives. The returned ones are in the order of the configuration.
    """
    ends_at = asyncio.get_running_loop().time() + total_s
    slots = {
        name: asyncio.Semaphore(min(MAX_CONCURRENT_CALLS, backend.limits.concurrency or MAX_CONCURRENT_CALLS))
        for name, backend in config.backends.items()
        if isinstance(backend, RemoteBackendConfig)
    }

    async def one(model: str, members: dict[str, MemberConfig]) -> ProbeResult:
        name = next(iter(members.values())).backend
        result = ProbeResult(tuple(members), name, all(member.price is not None for member in members.values()))
        backend = config.backends[name]
        if isinstance(backend, VllmBackendConfig):
            result = replace(result, probed=False, notes=("not probed: an engine of our own",))
        else:
            result = await _probe_model(result, backend, model, slots[name], ends_at)
        on_result(result)
        return result

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(model, members)) for (_, model), members in _models(config).items()]
    return [task.result() for task in tasks]


def probe_and_show(config: ClusterConfig) -> bool:
    """Probes every remote model and prints a table. Returns whether all that were probed have answered.

    Progress goes to standard error. Outside of a terminal the table is plain text, one line per model.
    """
    bar = Progress(
        TextColumn("probing"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), console=stderr
    )
    with bar if stderr.is_terminal else nullcontext():
        task = bar.add_task("", total=len(_models(config)))

        def report(result: ProbeResult) -> None:
            names = ", ".join(result.members)
            if stderr.is_terminal:
                bar.update(task, advance=1, description=names)
            else:
                answered = result.latency_ms is not None
                outcome = f"answered in {result.latency_ms:.0f} ms" if answered else "no answer"
                notify(f"  {names}: {outcome if result.probed else 'not probed'}")

        results = asyncio.run(probe(config, report))
    show(_table(results, box.SIMPLE_HEAD if stdout.is_terminal else None), _PLAIN_WIDTH)
    for result in results:
        for note in result.notes:
            say(f"{', '.join(result.members)}: {note}")
    return all(result.passed for result in results)


def _models(config: ClusterConfig) -> dict[tuple[str, str], dict[str, MemberConfig]]:
    """Members grouped by backend and model."""
    models: dict[tuple[str, str], dict[str, MemberConfig]] = {}
    for name, profile in config.profiles().items():
        models.setdefault((profile.backend, profile.model), {})[name] = config.members[name]
    return models


async def _probe_model(
    known: ProbeResult, backend: RemoteBackendConfig, model: str, slots: asyncio.Semaphore, ends_at: float
) -> ProbeResult:
    loop = asyncio.get_running_loop()
    has_key = backend.api_key_env is not None or backend.api_key_file is not None
    try:
        member = RemoteMember(backend.remote_backend(), model)
    except MissingSecret as error:
        return replace(known, key_valid=False, notes=(error.message,))

    question = _QUESTION
    if backend.api == "anthropic":
        question = replace(question, sampling=Sampling(max_tokens=_ANSWER_TOKENS))

    async def timed(request: Request, emit: Emit | None = None) -> tuple[Completion | MemberError, float]:
        async with slots:
            began_at = loop.time()
            if began_at >= ends_at:
                return MemberTimeout("not probed: no time left"), 0.0
            call = Call(known.members[0], request, ends_at - began_at)
            try:
                outcome = await member.ask(call, emit)
            except MemberError as error:
                outcome = error
            return outcome, (loop.time() - began_at) * 1000

    try:
        plain, took_ms = await timed(question)
        if isinstance(plain, MemberError):
            return replace(_diagnose(known, plain, has_key), notes=(plain.message,))
        (streamed, _), (with_tool, _) = await asyncio.gather(
            timed(question, lambda _: None), timed(replace(question, tools=(_TOOL,)))
        )
    finally:
        await member.aclose()
    failures = {"streaming": streamed, "tools": with_tool}
    return replace(
        known,
        reachable=True,
        key_valid=True if has_key else None,
        model_known=True,
        streams=True if isinstance(streamed, Completion) else _unsupported(streamed),
        tools=True if isinstance(with_tool, Completion | EmptyCompletion) else _unsupported(with_tool),
        latency_ms=took_ms,
        notes=tuple(f"{what}: {end.message}" for what, end in failures.items() if isinstance(end, MemberError)),
    )


def _diagnose(known: ProbeResult, error: MemberError, has_key: bool) -> ProbeResult:
    """Derives from an error how far the request got. An API that names its objection has accepted the key."""
    reachable, code = error.connected, error.provider_code
    if reachable is None and not isinstance(error, MemberTimeout):
        reachable = True
    understood = isinstance(error, EmptyCompletion) or (isinstance(error, MemberRejected) and code is not None)
    unknown = isinstance(error, MemberRejected) and (error.http_status == 404 or "model" in (code or "").lower())
    return replace(
        known,
        reachable=reachable,
        key_valid=False if isinstance(error, MemberUnauthorized) else True if understood and has_key else None,
        model_known=False if unknown else True if isinstance(error, EmptyCompletion) else None,
    )


def _unsupported(error: MemberError) -> bool | None:
    """Returns False for an error that means no, None for one that leaves it open."""
    return False if isinstance(error, MemberRejected | MalformedReply | EmptyCompletion) else None


def _table(results: Sequence[ProbeResult], frame: box.Box | None) -> Table:
    table = Table(box=frame, padding=(0, 1, 0, 0))
    for column in ("member", "backend"):
        table.add_column(column, overflow="fold")
    for column in ("reachable", "key valid", "model known", "streams", "tools", "latency", "price known"):
        # In a terminal, two-line headings leave room for the names.
        table.add_column(column if frame is None else column.replace(" ", "\n"), no_wrap=True)
    for result in results:
        latency = "-" if result.latency_ms is None else f"{result.latency_ms:.0f} ms"
        table.add_row(
            ", ".join(result.members),
            result.backend,
            *map(_yes_or_no, (result.reachable, result.key_valid, result.model_known, result.streams, result.tools)),
            latency,
            _yes_or_no(result.price_known),
        )
    return table


def _yes_or_no(value: bool | None) -> str:
    return {True: "[green]yes[/]", False: "[red]no[/]", None: "-"}[value]
