"""`fusion rejudge`: judges recorded panels again."""

from __future__ import annotations

import json
import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress

from cluster.cli.output import ExitCode, fail, notify, stderr
from cluster.cli.output import show as display
from cluster.cli.recording_options import (
    RecordingsPath,
    configured_path,
    loaded,
    reading,
    recording_filter,
    text_in,
    with_options,
)
from cluster.recordings.filter import RecordingFilter

if TYPE_CHECKING:
    from cluster.recordings.folder import RecordingFolder
    from cluster.recordings.rejudge import Rejudged


class Mode(StrEnum):
    """The modes in which a panel can be judged again."""

    best_of = "best-of"
    merge = "merge"
    debate = "debate"


@with_options(selected=recording_filter)
def rejudge(
    judge: Annotated[str, typer.Option("--judge", "-j", metavar="MEMBER", help="The member that judges now.")],
    selected: RecordingFilter,
    recordings: RecordingsPath = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", metavar="FILE", help="Configuration that has the member, and recordings.path."),
    ] = None,
    mode: Annotated[Mode | None, typer.Option(help="Judge in this mode instead of each request's own.")] = None,
    prompt: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Instructions that precede the judge's own.")
    ] = None,
    url: Annotated[str | None, typer.Option(help="Call the judge through the service at this address.")] = None,
    key_env: Annotated[
        str, typer.Option(metavar="NAME", help="Environment variable with the service's API key, if it needs one.")
    ] = "FUSION_API_KEY",
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="Maximum number of requests.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="Concurrent requests.")] = 8,
    timeout_s: Annotated[float, typer.Option(min=1, help="Deadline of each decision, in seconds.")] = 120.0,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="File for results (Parquet). Default: beside them."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """Judge recorded panels again with another judge model, prompt or mode, and compare.

    The panel's members are not called: their recorded candidates are judged, with the recorded seed, so that the judge
    model sees them in the same order as the first one did. That needs requests recorded with [bold]content:
    full[/bold]. A remote member is called at its own API. With [bold]--url[/bold] a running service is called, which a
    member on an engine needs; there the member's own system prompt applies too.

    The comparison shows how often both judges chose the same winner, wins by member, latency and cost. Each request's
    result is a row of a Parquet file. The exit code is 1 when no request could be decided.
    """
    import asyncio

    from cluster.recordings import rejudge as rejudging
    from cluster.recordings.folder import RecordingsError
    from cluster.recordings.judges import remote_judge, service_judge
    from cluster.recordings.replay import NewJudge
    from deployments.recordings.destination import local_folder
    from deployments.recordings.settings import is_local

    path = recordings or configured_path(config)
    if output is None and not (is_local(path) and local_folder(path).is_dir()):
        fail("give a file for the results with -o", ExitCode.USAGE)
    target = output or rejudging.default_target(local_folder(path), judge)
    guidance = None if prompt is None else text_in(prompt)
    known = loaded(config) if config is not None or url is None else None

    async def run(folder: RecordingFolder) -> list[Rejudged]:
        eligible = rejudging.count_eligible(folder, selected, limit)
        folder.skipped.clear()  # the second pass reads them again
        for reason, count in eligible.left_out.items():
            notify(f"left out: {count} {reason}")
        key = key_env if os.environ.get(key_env) else None
        if url is not None:
            access = service_judge(url, key, judge, known)
        elif known is not None:
            access = remote_judge(known, judge)
        else:
            raise RecordingsError("give the configuration that has the member with -c, or a service with --url")
        async with access as opened:
            new = NewJudge(opened.member, opened.profile, None if mode is None else mode.value, guidance, timeout_s)
            with Progress(console=stderr, transient=True) as progress:
                bar = progress.add_task(f"{judge} judges", total=eligible.requests)
                rows = folder.rows(selected)
                return await rejudging.rejudge(rows, new, concurrency, eligible.requests, lambda: progress.advance(bar))

    with reading(path) as folder:
        try:
            results = asyncio.run(run(folder))
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        rejudging.write_results(results, target)
        comparison = rejudging.compare(results)
        if as_json:
            typer.echo(json.dumps({**comparison.as_json(), "results": str(target)}, indent=2))
        else:
            display(rejudging.comparison_tables(comparison))
            notify(f"results are in {target}")
        if all(result.error for result in results):
            raise RecordingsError("no request could be decided")
