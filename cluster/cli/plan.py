"""`fusion plan`: the hardware that a configuration needs."""

from __future__ import annotations

from typing import Annotated

import typer

from cluster.cli.options import ConfigFile
from cluster.cli.output import ExitCode, fail, show
from cluster.config.loader import ConfigError, load, named


def plan(
    config: ConfigFile = None,
    rps: Annotated[
        float | None,
        typer.Option(min=0, help="Fused requests per second. Default: 1 where other load options are given."),
    ] = None,
    prompt_tokens: Annotated[int | None, typer.Option(min=1, help="Tokens of a request. Default: 1000.")] = None,
    output_tokens: Annotated[int | None, typer.Option(min=1, help="Tokens of an answer. Default: 300.")] = None,
    preset: Annotated[
        str | None, typer.Option("--preset", "-p", metavar="ID", help="Requested preset. Default: the default preset.")
    ] = None,
    gpu: Annotated[
        str | None, typer.Option(metavar="TYPE", help="GPU type where the configuration says accelerator: gpu.")
    ] = None,
    gpus_per_node: Annotated[
        int | None, typer.Option(min=1, help="GPUs per node. Default: what is usual for the type, mostly 8.")
    ] = None,
    gpu_memory_gib: Annotated[
        float | None, typer.Option(min=1, metavar="GIB", help="Memory of a GPU, for types that come in several sizes.")
    ] = None,
    gpu_hour_usd: Annotated[
        list[str], typer.Option(metavar="PRICE", help="Price of a GPU-hour: 2.50, or H100=2.50 for one type.")
    ] = [],  # noqa: B006
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """Estimate the GPUs, nodes, replicas and money that a configuration needs. Nothing is started.

    Memory is computed with vLLM's rules from the model's config.json: a local folder's, that of a model known here, or
    the model hub's. With a load ([bold]--rps[/bold], [bold]--prompt-tokens[/bold], [bold]--output-tokens[/bold]) the
    number of replicas follows from an estimate of their speed. The formulas have not been validated on GPUs.

    The exit code is 1 if the configuration cannot run as planned; the reason and the nearest alternatives are printed.
    """
    from cluster.planning import report
    from cluster.planning.plan import Hardware
    from cluster.planning.plan import plan as plan_of
    from cluster.planning.workload import Load

    file = named(config)
    load_of = Load(rps or 1, prompt_tokens or 1000, output_tokens or 300, preset)
    given = None if rps is prompt_tokens is output_tokens is preset is None else load_of
    try:
        hardware = Hardware(gpu, gpus_per_node, gpu_memory_gib, report.prices_from(gpu_hour_usd))
        planned = plan_of(load(file), given, hardware)
    except (ConfigError, ValueError) as error:
        fail(str(error), ExitCode.USAGE)
    if as_json:
        typer.echo(report.as_json(planned, given))
    else:
        for part in report.as_tables(planned, given):
            show(part)
    if planned.refusals:
        fail(report.refused(planned))
