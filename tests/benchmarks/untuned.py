"""The same application on Serve as it comes: none of the settings that `fusion serve` makes.

usage: untuned.py CONFIG
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from pathlib import Path

import ray
from ray import serve

from cluster.config.loader import load
from cluster.serving.app import build


def main(file: Path) -> None:
    """Serve until the process is ended."""
    config = load(file)
    ray.init(
        num_cpus=max(os.cpu_count() or 1, 4), include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
    )
    serve.start(http_options={"host": config.server.host, "port": config.server.port})
    serve.run(build(config))
    threading.Event().wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
