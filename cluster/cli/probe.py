"""Asks every remote model one tiny question, and shows what became of it. No cluster is needed for it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from cluster.config.backends import RemoteBackendConfig, VllmBackendConfig, remote_backend
from cluster.config.schema import ClusterConfig, MemberConfig
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


_AT_ONCE = 8  # calls to one backend


_PLAIN_WIDTH = 1000  # so that nothing is broken into lines


_QUESTION = Request((Message("user", "Reply with the one word: ok"),))


_TOOL = Tool("current_time", "Tells the time of day", {"type": "object", "properties": {}})


# Where a number is required, one that fits into short contexts too and leaves room for some thinking.
_ANSWER_TOKENS = 1024


_STATUS = re.compile(r"HTTP (\d+)(?: \((.+)\))?")


@dataclass(frozen=True, slots=True)
class Finding:
    """What is known of one backend's model, and of the members that speak with it. None is what could not be found
    out; `notes` say what went wrong, in the words of `fusion.errors`."""

    members: tuple[str, ...]
    backend: str
    price_known: bool
    asked: bool = True
    reachable: bool | None = None
    key_good: bool | None = None
    model_known: bool | None = None
    streams: bool | None = None
    tools: bool | None = None
    latency_ms: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        """Whether it answered, or need not have."""
        return self.latency_ms is not None or not self.asked


async def look(
    config: ClusterConfig, found: Callable[[Finding], None] = lambda _: None, total_s: float = TOTAL_S
) -> list[Finding]:
    """Ask every remote model, all at once, and be done after `total_s`. `found` hears of each as soon as it is known;
    the result is in the order of the configuration."""
    ends_at = asyncio.get_running_loop().time() + total_s
    turns = {
        name: asyncio.Semaphore(min(_AT_ONCE, backend.limits.concurrency or _AT_ONCE))
        for name, backend in config.backends.items()
        if isinstance(backend, RemoteBackendConfig)
    }

    async def one(model: str, voices: dict[str, MemberConfig]) -> Finding:
        backend = next(iter(voices.values())).backend
        known = Finding(tuple(voices), backend, all(voice.price is not None for voice in voices.values()))
        where = config.backends[backend]
        if isinstance(where, VllmBackendConfig):
            known = replace(known, asked=False, notes=("not asked: it is an engine of our own",))
        else:
            known = await _asked(known, where, model, turns[backend], ends_at)
        found(known)
        return known

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(model, voices)) for (_, model), voices in _models(config).items()]
    return [task.result() for task in tasks]


def check_live(config: ClusterConfig) -> bool:
    """Ask every remote model and print a table; whether all that were asked have answered.

    Progress goes to standard error. Where standard output is not a terminal the table is plain text, a model a line.
    """
    aside = Console(stderr=True, highlight=False, emoji=False)
    bar = Progress(
        TextColumn("asking"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), console=aside
    )
    with bar if aside.is_terminal else nullcontext():
        task = bar.add_task("", total=len(_models(config)))

        def found(finding: Finding) -> None:
            name = ", ".join(finding.members)
            if aside.is_terminal:
                bar.update(task, advance=1, description=name)
            else:
                said = f"answered in {finding.latency_ms:.0f} ms" if finding.latency_ms is not None else "no answer"
                aside.print(f"  {name}: {said if finding.asked else 'not asked'}", markup=False, soft_wrap=True)

        findings = asyncio.run(look(config, found))
    console = Console(highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = _PLAIN_WIDTH
    console.print(_table(findings, box.SIMPLE_HEAD if console.is_terminal else None))
    for finding in findings:
        for note in finding.notes:
            console.print(f"{', '.join(finding.members)}: {note}", markup=False, soft_wrap=True)
    return all(finding.good for finding in findings)


def _models(config: ClusterConfig) -> dict[tuple[str, str], dict[str, MemberConfig]]:
    """The members by what they speak with: their backend and its model."""
    models: dict[tuple[str, str], dict[str, MemberConfig]] = {}
    for name, profile in config.profiles().items():
        models.setdefault((profile.backend, profile.model), {})[name] = config.members[name]
    return models


async def _asked(
    known: Finding, backend: RemoteBackendConfig, model: str, turn: asyncio.Semaphore, ends_at: float
) -> Finding:
    loop = asyncio.get_running_loop()
    has_key = backend.api_key_env is not None or backend.api_key_file is not None
    try:
        member = RemoteMember(remote_backend(backend), model)
    except MissingSecret as error:
        return replace(known, key_good=False, notes=(error.message,))

    question = _QUESTION
    if backend.api == "anthropic":
        question = replace(question, sampling=Sampling(max_tokens=_ANSWER_TOKENS))

    async def answer(request: Request, emit: Emit | None = None) -> tuple[Completion | MemberError, float]:
        async with turn:
            began_at = loop.time()
            if began_at >= ends_at:
                return MemberTimeout("not asked: there was no time left"), 0.0
            call = Call(known.members[0], request, ends_at - began_at)
            try:
                outcome = await member.ask(call, emit)
            except MemberError as error:
                outcome = error
            return outcome, (loop.time() - began_at) * 1000

    try:
        plain, took_ms = await answer(question)
        if isinstance(plain, MemberError):
            return replace(_judged(known, plain, has_key), notes=(plain.message,))
        (streamed, _), (with_tool, _) = await asyncio.gather(
            answer(question, lambda _: None), answer(replace(question, tools=(_TOOL,)))
        )
    finally:
        await member.aclose()
    failures = {"streaming": streamed, "tools": with_tool}
    return replace(
        known,
        reachable=True,
        key_good=True if has_key else None,
        model_known=True,
        streams=True if isinstance(streamed, Completion) else _refused(streamed),
        tools=True if isinstance(with_tool, Completion | EmptyCompletion) else _refused(with_tool),
        latency_ms=took_ms,
        notes=tuple(f"{what}: {end.message}" for what, end in failures.items() if isinstance(end, MemberError)),
    )


def _judged(known: Finding, error: MemberError, has_key: bool) -> Finding:
    """What an error says about where it came from. An API that names what it dislikes has accepted the key."""
    said = _STATUS.match(error.message)
    status, code = said.groups() if said else (None, None)
    reachable = None if isinstance(error, MemberTimeout) and said is None else True
    if error.message.startswith("no connection"):
        reachable = False
    understood = isinstance(error, EmptyCompletion) or (isinstance(error, MemberRejected) and code is not None)
    unknown = isinstance(error, MemberRejected) and (status == "404" or "model" in (code or "").lower())
    return replace(
        known,
        reachable=reachable,
        key_good=False if isinstance(error, MemberUnauthorized) else True if understood and has_key else None,
        model_known=False if unknown else True if isinstance(error, EmptyCompletion) else None,
    )


def _refused(error: MemberError) -> bool | None:
    """False for an error that says no, None for one that says nothing."""
    return False if isinstance(error, MemberRejected | MalformedReply | EmptyCompletion) else None


def _table(findings: Sequence[Finding], frame: box.Box | None) -> Table:
    table = Table(box=frame, padding=(0, 1, 0, 0))
    for column in ("member", "backend"):
        table.add_column(column, overflow="fold")
    for column in ("reachable", "key good", "model known", "streams", "tools", "latency", "price known"):
        # In a terminal the names need the room.
        table.add_column(column if frame is None else column.replace(" ", "\n"), no_wrap=True)
    for finding in findings:
        latency = "-" if finding.latency_ms is None else f"{finding.latency_ms:.0f} ms"
        table.add_row(
            ", ".join(finding.members),
            finding.backend,
            *map(_word, (finding.reachable, finding.key_good, finding.model_known, finding.streams, finding.tools)),
            latency,
            _word(finding.price_known),
        )
    return table


def _word(found: bool | None) -> str:
    return {True: "[green]yes[/]", False: "[red]no[/]", None: "-"}[found]
