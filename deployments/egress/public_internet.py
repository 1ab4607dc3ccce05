"""Tells public addresses from others, and makes HTTP clients that connect to public ones only."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

Address = IPv4Address | IPv6Address


Lookup = Callable[[str], Awaitable[Sequence[Address]]]


_GLOBAL_UNICAST = ip_network("2000::/3")


_NAT64 = ip_network("64:ff9b::/96")


# Not public, although `is_global` says so, in some versions of Python or in all of them.
_SPECIAL = tuple(
    ip_network(text)
    for text in (
        "168.63.129.16/32",  # the host of a virtual machine at Azure, with the keys of its guests
        "192.0.0.0/24",  # protocol assignments, and Oracle's metadata
        "192.88.99.0/24",  # 6to4
        "2001::/23",  # protocol assignments, Teredo among them
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
)


def is_public(address: Address) -> bool:
    """Whether an address is that of a host on the public internet.

    It is not when it is loopback, private, shared (CGNAT), link-local, multicast, reserved or unspecified, nor when it
    holds an IPv4 address, as 6to4, Teredo and mapped addresses do. NAT64 is how IPv6 networks reach IPv4 hosts: there
    the host's own address decides.
    """
    if isinstance(address, IPv6Address):
        if address in _NAT64:
            return is_public(IPv4Address(address.packed[-4:]))
        if address not in _GLOBAL_UNICAST or address.scope_id is not None:
            return False
    special = address.is_multicast or address.is_reserved or any(address in network for network in _SPECIAL)
    return address.is_global and not special


async def look_up(host: str) -> Sequence[Address]:
    """Resolves a host to all of its addresses.

    Raises:
        OSError: it has none.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a name that is too long for the DNS
        raise OSError("not a host's name") from error
    return [ip_address(entry[4][0]) for entry in found]


class NonPublicHost(OSError):
    """A host has an address that is not public, so no connection was made."""


@dataclass(frozen=True, slots=True)
class PublicInternet:
    """The public internet: how hosts are resolved, and which addresses are public."""

    look_up: Lookup = look_up
    is_public: Callable[[Address], bool] = is_public

    async def addresses(self, host: str) -> Sequence[Address]:
        """Returns a host's addresses, all of which are public.

        Raises:
            NonPublicHost: one of them is not.
            OSError: it has none.
        """
        addresses = await self.look_up(host)
        if not addresses or not all(map(self.is_public, addresses)):
            raise NonPublicHost(f"{host} is not a public host")
        return addresses

    async def has(self, host: str) -> bool:
        """Whether a host can be resolved and is public."""
        try:
            return bool(await self.addresses(host))
        except OSError:
            return False

    def session(self) -> aiohttp.ClientSession:
        """Returns a client that connects to public addresses only, whatever a name resolves to the next time.

        It keeps no cookies, follows no redirects unless asked to, and goes through no proxy: a proxy would
        look names up on its own. Its errors are aiohttp's and `OSError`.
        """
        connector = aiohttp.TCPConnector(
            resolver=_Resolver(self), use_dns_cache=False, socket_factory=self._socket, force_close=True
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"user-agent": "fusion-cluster", "accept-encoding": "identity"},
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
            trust_env=False,
        )

    def _socket(self, info: Any) -> socket.socket:
        """The last word on a connection: every one passes here with the address that it goes to, and those that a URL
        gives in figures pass here only."""
        family, kind, protocol, _, where = info
        if not self.is_public(ip_address(where[0])):
            raise NonPublicHost("not a public address")
        return socket.socket(family, kind, protocol)


class _Resolver(AbstractResolver):
    def __init__(self, internet: PublicInternet) -> None:
        self._internet = internet

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        families = {4: socket.AF_INET, 6: socket.AF_INET6}
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=families[address.version],
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in await self._internet.addresses(host)
            if family in (socket.AF_UNSPEC, families[address.version])
        ]

    async def close(self) -> None:
        pass
