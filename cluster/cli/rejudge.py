"""`fusion rejudge`: recorded panels, judged again."""

from __future__ import annotations

import json
import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from cluster.cli.recording_options import (
    EXIT_BAD_USAGE,
    Day,
    MemberName,
    PresetName,
    Recordings,
    Since,
    Until,
    aside,
    configured,
    days,
    fail,
    loaded,
    reading,
    say,
    text_in,
)

if TYPE_CHECKING:
    from cluster.recordings.folder import RecordingFolder
    from cluster.recordings.rejudge import Rejudged


class Mode(StrEnum):
    """How a panel can be judged again."""

    best_of = "best-of"
    merge = "merge"
    debate = "debate"


def rejudge(
    judge: Annotated[str, typer.Option("--judge", "-j", metavar="MEMBER", help="The member that judges now.")],
    recordings: Recordings = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", metavar="FILE", help="Configuration that has the member.")
    ] = None,
    mode: Annotated[Mode | None, typer.Option(help="Judge in this mode, instead of each request's own.")] = None,
    prompt: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Instructions to put before the judge's own.")
    ] = None,
    url: Annotated[str | None, typer.Option(help="Ask through the service that runs here.")] = None,
    key_env: Annotated[
        str, typer.Option(metavar="NAME", help="Variable with the service's key, if it needs one.")
    ] = "FUSION_API_KEY",
    day: Day = None,
    since: Since = None,
    until: Until = None,
    preset: PresetName = None,
    member: MemberName = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="So many at most.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="So many at once.")] = 8,
    timeout_s: Annotated[float, typer.Option(min=1, help="Seconds for each decision.")] = 120.0,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Results, as Parquet; beside the recordings if not."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """Judge recorded panels again, with another judge model, prompt or mode, and compare.

    The panel's members are not asked: their recorded candidates are judged, under the recorded seed, so that the judge
    model sees them in the order in which the first one saw them. That takes requests that were recorded with
    [bold]content: full[/bold]. A remote member is asked at its own API. With [bold]--url[/bold] a running service is
    asked, which an engine of your own needs; a member's own system prompt is heard there too.

    The comparison is printed: how often the winner is the same one, wins by member, latency, cost. Each request's
    result is a row of a Parquet file. The exit code is 1 when no decision came about.
    """
    import asyncio

    from cluster.recordings import rejudge as rejudging
    from cluster.recordings.folder import RecordingsError, Wanted
    from cluster.recordings.judges import at_its_api, at_service
    from cluster.recordings.replay import NewJudge
    from deployments.recordings.destination import local_folder
    from deployments.recordings.settings import is_local

    path = recordings or configured(config)
    if output is None and not (is_local(path) and local_folder(path).is_dir()):
        fail("give a file for the results with -o", EXIT_BAD_USAGE)
    target = output or rejudging.default_target(local_folder(path), judge)
    guidance = None if prompt is None else text_in(prompt)
    wanted = Wanted(*days(day, since, until), preset, member)
    known = loaded(config) if config is not None or url is None else None

    async def run(folder: RecordingFolder) -> list[Rejudged]:
        chosen = rejudging.choose(folder, wanted, limit)
        folder.skipped.clear()  # they are named when they are read for good
        for reason, count in chosen.left_out.items():
            aside(f"left out: {count} {reason}")
        key = key_env if os.environ.get(key_env) else None
        if url is not None:
            reaching = at_service(url, key, judge, known)
        elif known is not None:
            reaching = at_its_api(known, judge)
        else:
            raise RecordingsError("give the configuration that has the member with -c, or a service with --url")
        async with reaching as reached:
            new = NewJudge(reached.member, reached.profile, None if mode is None else mode.value, guidance, timeout_s)
            with Progress(console=Console(stderr=True), transient=True) as progress:
                bar = progress.add_task(f"{judge} judges", total=chosen.requests)
                rows = folder.rows(wanted)
                return await rejudging.rejudge(rows, new, concurrency, chosen.requests, lambda: progress.advance(bar))

    with reading(path, None) as folder:
        try:
            results = asyncio.run(run(folder))
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        rejudging.write_results(results, target)
        comparison = rejudging.compare(results)
        if as_json:
            typer.echo(json.dumps({**comparison.as_json(), "results": str(target)}, indent=2))
        else:
            say(rejudging.comparison_tables(comparison))
            aside(f"every result is in {target}")
        if all(result.error for result in results):
            raise RecordingsError("no decision came about")
