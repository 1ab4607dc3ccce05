"""`fusion check`: a configuration validated without starting anything."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.tree import Tree

from cluster.cli.options import ConfigFile
from cluster.cli.output import ExitCode, fail, show
from cluster.config.loader import ConfigError, check_secrets, load, named
from cluster.config.schema import ClusterConfig


def check(
    config: ConfigFile = None,
    live: Annotated[bool, typer.Option("--live", help="Also probe every remote model with short requests.")] = False,
) -> None:
    """Validate a configuration without starting anything.

    Every problem is reported with its line, its key and what was expected; the exit code is 2 then.

    With [bold]--live[/bold] every model of a remote backend gets a one-word request three times: plain, streamed and
    with a tool, all models at once and within 30 seconds. That costs a few tokens. A table shows for each whether it is
    reachable, accepts the key, knows the model, streams and takes tools, its latency, and whether its price is
    configured; [bold]-[/bold] means unknown. The exit code is 1 if a model does not answer; a missing ability to stream
    or to take tools is shown and is no failure. Engines of your own are not probed.
    """
    file = named(config)
    try:
        loaded = load(file)
        check_secrets(file, loaded, os.environ)
    except ConfigError as error:
        fail(str(error), ExitCode.USAGE)
    show(_outline(file, loaded))
    if live:
        from cluster.cli.probe import probe_and_show

        try:
            passed = probe_and_show(loaded)
        except KeyboardInterrupt:
            raise typer.Exit(ExitCode.INTERRUPTED) from None
        raise typer.Exit(ExitCode.OK if passed else ExitCode.FAILED)


def _outline(file: Path, config: ClusterConfig) -> Tree:
    profiles = config.profiles()
    tree = Tree(f"[bold]{file}[/bold]: OK")
    backends = tree.add("backends")
    for name, backend in config.backends.items():
        members = [profile.name for profile in profiles.values() if profile.backend == name]
        backends.add(f"{name}: {backend.kind}, used by {', '.join(members) or 'no member'}")
    presets = tree.add("presets")
    for name, preset in config.fusion_presets().items():
        panel, judges = ", ".join(preset.panel), ", then ".join(preset.judges)
        presets.add(f"{name}: {preset.mode} of {panel}, quorum {preset.quorum}, judged by {judges}")
    return tree
