"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_URL = "http://127.0.0.1:8000"


API_KEY_VARIABLE = "FUSION_API_KEY"


ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="Configuration file, or the name of a shipped one, such as mixtral-8x22b. Default: the embedded one.",
    ),
]


Url = Annotated[str, typer.Option(metavar="URL", help="Base URL of the service.")]


KeyEnv = Annotated[str, typer.Option(metavar="NAME", help="Environment variable that holds the service's API key.")]
