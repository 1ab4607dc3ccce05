"""The `fusion` command."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.tree import Tree

from cluster.cli import grafana as grafana_cli
from cluster.cli import recordings as traces_cli
from cluster.cli import rejudge as rejudge_cli
from cluster.config.kubernetes import RAY_SERVICE, ray_service_patch
from cluster.config.loader import ConfigError, check_carriable, check_secrets, load, named
from cluster.config.schema import ClusterConfig

EXIT_FAILED = 1


EXIT_BAD_CONFIG = 2


EXIT_PORT_IN_USE = 3


DEFAULT_URL = "http://127.0.0.1:8000"


app = typer.Typer(
    name="fusion",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    help="Several language models answer one prompt, and a judge turns their answers into one.",
    epilog="Exit codes: 0 done, 1 failed, 2 bad usage or configuration, 3 port in use, 128 + n ended by signal n.",
)


app.add_typer(traces_cli.app, name="traces")


app.add_typer(grafana_cli.app, name="grafana")


app.command(epilog="Example: fusion rejudge --traces traces -c my.yaml --judge claude --mode best-of")(
    rejudge_cli.rejudge
)


app.command(epilog="Example: fusion report --traces traces --since 2026-01-01 -o january.html")(traces_cli.report)


_progress = Console(stderr=True, highlight=False, emoji=False)


ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="Configuration, or the name of one that comes along, such as mixtral-8x22b; the embedded one by default.",
    ),
]


Url = Annotated[str, typer.Option(help="Where the service is.")]


KeyEnv = Annotated[
    str, typer.Option(metavar="NAME", help="Environment variable that holds the API key, if one is needed.")
]


@app.callback(invoke_without_command=True)
def options(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    """Options of the command itself."""
    if version:
        typer.echo(f"fusion-cluster {installed_version('fusion-cluster')}")
        raise typer.Exit


@app.command(epilog="Example: fusion serve -c my.yaml --port 8123")
def serve(
    config: ConfigFile = None,
    host: Annotated[str | None, typer.Option(help="Listen here, instead of server.host.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Listen here, instead of server.port.")] = None,
    address: Annotated[
        str | None, typer.Option(help="A running Ray cluster to deploy to; one is started if not given.")
    ] = None,
    metrics: Annotated[
        bool, typer.Option("--metrics", help="Also start the Prometheus on PATH, for this machine alone.")
    ] = False,
    metrics_port: Annotated[int, typer.Option(min=1, max=65535, help="Where that Prometheus listens.")] = 9090,
) -> None:
    """Serve a configuration, in the foreground.

    Prints a line that begins with [bold]ready[/bold] once a real completion went through. Ctrl-C ends everything that
    was started.
    """
    from cluster.serving.embedded_model import ModelUnavailable
    from cluster.serving.prometheus import PrometheusMissing
    from cluster.serving.serve import PortInUse
    from cluster.serving.serve import serve as serve_until_signal
    from cluster.serving.startup import StartFailed

    try:
        if metrics and address is not None:
            _fail(
                "--metrics is for a Ray that serve starts; the cluster at --address has its own Prometheus",
                EXIT_BAD_CONFIG,
            )
        signum = serve_until_signal(named(config), host, port, address, _report, metrics_port if metrics else None)
    except ConfigError as error:
        _fail(str(error), EXIT_BAD_CONFIG)
    except PortInUse as error:
        _fail(str(error), EXIT_PORT_IN_USE)
    except (StartFailed, ModelUnavailable, PrometheusMissing) as error:
        _fail(str(error), EXIT_FAILED)
    else:
        raise typer.Exit(128 + signum)


@app.command(epilog="Example: fusion apply -c my.yaml --port 8123")
def apply(
    config: Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="What to serve from now on.")],
    host: Annotated[str | None, typer.Option(help="Where it listens, if serve was given --host.")] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Where it listens, if serve was given --port.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="The service's Ray cluster; the one on this machine if not given.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="How long new replicas may take to start.")
    ] = 1800,
) -> None:
    """Bring another configuration to a running service, without a lost request.

    What did not change runs on: a changed preset, price, sampling or system prompt starts new judges alone, and an
    engine starts anew only when its model or its engine arguments change. What is replaced goes once another is up in
    its place, and ends what it has first.

    When something does not start, or on Ctrl-C, the service goes back to what it was; the exit code is 1, or 130.
    It is 2 when the configuration is bad or changes where the service listens: then nothing was changed.
    """
    from cluster.serving.apply import NothingToApplyTo, RestartNeeded
    from cluster.serving.apply import apply as apply_to_running
    from cluster.serving.embedded_model import ModelUnavailable
    from cluster.serving.startup import StartFailed

    try:
        apply_to_running(named(config), host, port, address, _report, timeout)
    except (ConfigError, RestartNeeded) as error:
        _fail(str(error), EXIT_BAD_CONFIG)
    except (StartFailed, NothingToApplyTo, ModelUnavailable) as error:
        _fail(str(error), EXIT_FAILED)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    typer.echo(f"applied {config}")


@app.command(epilog="Example: fusion ask 'Is 91 prime?' --preset fusion/best-of --show-candidates")
def ask(
    question: Annotated[str, typer.Argument(help="What to ask; - reads it from standard input.")],
    preset: Annotated[
        str, typer.Option("--preset", "-p", metavar="ID", help="A preset, or a member.")
    ] = "fusion/merge",
    show_candidates: Annotated[bool, typer.Option("--show-candidates", help="Watch every member's answer.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the response as JSON.")] = False,
    url: Url = DEFAULT_URL,
    key_env: KeyEnv = "FUSION_API_KEY",
) -> None:
    """Ask a running service a question.

    The answer streams to standard output; what goes on beside it is shown on standard error.
    """
    from cluster.cli.ask import AskFailed, Question, ask_as_json, ask_live

    text = sys.stdin.read() if question == "-" else question
    asked = Question(text, preset, url, os.environ.get(key_env))
    try:
        if as_json:
            typer.echo(ask_as_json(asked))
        else:
            ask_live(asked, show_candidates)
    except AskFailed as error:
        _fail(str(error), EXIT_FAILED)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


@app.command(epilog="Example: fusion status --url http://127.0.0.1:8123")
def status(url: Url = DEFAULT_URL, key_env: KeyEnv = "FUSION_API_KEY") -> None:
    """Show what a running service can do. Exits with 0 when it is ready, with 1 when it is not."""
    from cluster.cli.ask import AskFailed, status_tables

    try:
        ready, tables = status_tables(url, os.environ.get(key_env))
    except AskFailed as error:
        _fail(str(error), EXIT_FAILED)
    console = Console()
    for table in tables:
        console.print(table)
    console.print(f"{url} is {'ready' if ready else 'not ready'}")
    raise typer.Exit(0 if ready else EXIT_FAILED)


@app.command(epilog="Example: fusion check -c my.yaml --live && fusion serve -c my.yaml")
def check(
    config: ConfigFile = None,
    live: Annotated[bool, typer.Option("--live", help="Also ask every remote model a tiny question.")] = False,
) -> None:
    """Check a configuration without starting anything.

    Every problem is reported with its line, the key, and what was expected; the exit code is 2 then.

    With [bold]--live[/bold] every model of a remote backend is asked for one word, plainly, streamed and with a tool,
    all at once and within 30 seconds. That costs a few tokens. A table says of each whether it can be reached, takes
    the key and knows the model, whether it streams and takes tools, how long it took, and whether its price is
    configured; [bold]-[/bold] is what could not be found out. The exit code is 1 when one does not answer; not to
    stream or to take tools is shown, and is no failure. Engines of your own are not asked: serve starts them.
    """
    file = named(config)
    try:
        loaded = load(file)
        check_secrets(file, loaded, os.environ)
    except ConfigError as error:
        _fail(str(error), EXIT_BAD_CONFIG)
    Console().print(_outline(file, loaded))
    if live:
        from cluster.cli.probe import check_live

        try:
            good = check_live(loaded)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        raise typer.Exit(0 if good else EXIT_FAILED)


kubernetes_app = typer.Typer(no_args_is_help=True, help="Manifests for KubeRay.")


app.add_typer(kubernetes_app, name="k8s")


@kubernetes_app.callback()
def kubernetes_options() -> None:
    """Manifests for KubeRay, made from the same configuration file that [bold]fusion serve[/bold] takes."""


@kubernetes_app.command(
    "render", epilog="Example: fusion k8s render -c k8s/overlays/remote-only/fusion.yaml > .../application.yaml"
)
def render(
    config: Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="Configuration.")],
    name: Annotated[str, typer.Option(metavar="NAME", help="The RayService's name.")] = RAY_SERVICE,
) -> None:
    """Print a configuration as the serveConfigV2 of a RayService, a patch for Kustomize.

    What Kubernetes cannot carry (a loopback address, a relative path) is named with its line; the exit code is 2 then.
    """
    try:
        loaded = load(config)
        check_carriable(config, loaded)
    except ConfigError as error:
        _fail(str(error), EXIT_BAD_CONFIG)
    typer.echo(ray_service_patch(loaded, name), nl=False)


@app.command(epilog="Example: fusion plan -c mixtral-8x22b --rps 2 --gpu-hour-usd 2.50")
def plan(
    config: ConfigFile = None,
    rps: Annotated[float | None, typer.Option(min=0, help="Fused requests a second; 1 where others are given.")] = None,
    prompt_tokens: Annotated[int | None, typer.Option(min=1, help="Tokens of a request; 1000 if not given.")] = None,
    output_tokens: Annotated[int | None, typer.Option(min=1, help="Tokens of an answer; 300 if not given.")] = None,
    preset: Annotated[
        str | None, typer.Option("--preset", "-p", metavar="ID", help="What is asked; the default preset if not given.")
    ] = None,
    gpu: Annotated[
        str | None, typer.Option(metavar="TYPE", help="What GPU an accelerator is that is only called gpu.")
    ] = None,
    gpus_per_node: Annotated[int | None, typer.Option(min=1, help="GPUs of a node; 8 for most types.")] = None,
    gpu_memory_gib: Annotated[
        float | None, typer.Option(min=1, metavar="GIB", help="Memory of a GPU, where a type has several.")
    ] = None,
    gpu_hour_usd: Annotated[
        list[str], typer.Option(metavar="PRICE", help="Price of a GPU-hour: 2.50, or H100=2.50 for one type.")
    ] = [],  # noqa: B006
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """Say what a configuration needs before anyone buys it.

    Memory is counted as vLLM counts it, from the model's own config.json: a folder's, that of a model known here, or
    the model hub's. With a load ([bold]--rps[/bold], [bold]--prompt-tokens[/bold], [bold]--output-tokens[/bold]) the
    replicas follow from it, by an estimate of their speed. Nothing is started.

    The exit code is 1 when the plan cannot be; the reason is given, and what is nearest to it that can.
    """
    from cluster.planning import report as report
    from cluster.planning.plan import Hardware
    from cluster.planning.plan import plan as plan_of
    from cluster.planning.workload import Load

    file = named(config)
    load_of = Load(rps or 1, prompt_tokens or 1000, output_tokens or 300, preset)
    given = None if rps is prompt_tokens is output_tokens is preset is None else load_of
    try:
        hardware = Hardware(gpu, gpus_per_node, gpu_memory_gib, report.prices_from(gpu_hour_usd))
        planned = plan_of(load(file), given, hardware)
    except ConfigError as error:
        _fail(str(error), EXIT_BAD_CONFIG)
    except ValueError as error:
        _fail(str(error), EXIT_BAD_CONFIG)
    if as_json:
        typer.echo(report.as_json(planned, given))
    else:
        console = Console()
        for part in report.as_tables(planned, given):
            console.print(part)
    if planned.refusals:
        _fail(report.refused(planned), EXIT_FAILED)


def _outline(file: Path, config: ClusterConfig) -> Tree:
    profiles = config.profiles()
    tree = Tree(f"[bold]{file}[/bold] is good")
    backends = tree.add("backends")
    for name, backend in config.backends.items():
        members = [profile.name for profile in profiles.values() if profile.backend == name]
        backends.add(f"{name}: {backend.kind}, used by {', '.join(members) or 'no member'}")
    presets = tree.add("presets")
    for name, preset in config.fusion_presets().items():
        panel, judges = ", ".join(preset.panel), ", then ".join(preset.judges)
        presets.add(f"{name}: {preset.mode} of {panel}, quorum {preset.quorum}, judged by {judges}")
    return tree


def _report(line: str) -> None:
    _progress.print(f"  {line}", markup=False)


def _fail(message: str, code: int) -> NoReturn:
    Console(stderr=True, highlight=False, emoji=False).print(message, style="red", markup=False, soft_wrap=True)
    raise typer.Exit(code)


def main() -> None:
    """The command's entry point."""
    app()


if __name__ == "__main__":
    main()
