"""Which addresses are public, and that no connection is made to others."""

from __future__ import annotations

from ipaddress import ip_address

import aiohttp
import pytest

from deployments.egress.public_internet import PublicInternet, is_public, look_up
from tests.remote.internets import PRIVATE, PUBLIC, internet
from tests.remote.upstream import reply, upstream


@pytest.mark.parametrize(
    "text",
    [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",  # shared
        "100.100.100.200",  # metadata
        "127.0.0.1",
        "127.255.255.254",
        "168.63.129.16",  # metadata, at an address that looks public
        "169.254.169.254",  # metadata
        "172.16.0.1",
        "192.0.0.192",  # metadata
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "203.0.113.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "::ffff:0:127.0.0.1",
        "64:ff9b::127.0.0.1",
        "64:ff9b::169.254.169.254",
        "64:ff9b::10.0.0.1",
        "64:ff9b:1::8.8.8.8",  # NAT64 within one network
        "100::1",
        "2001::1",  # Teredo
        "2001:db8::1",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::1",
        "3fff::1",
        "4000::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",  # metadata
        "fe80::1",
        "fe80::1%1",
        "2606:4700::1111%1",
        "fec0::1",
        "ff02::1",
    ],
)
def test_not_public(text: str) -> None:
    assert not is_public(ip_address(text))


@pytest.mark.parametrize("text", ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "64:ff9b::8.8.8.8"])
def test_public(text: str) -> None:
    assert is_public(ip_address(text))


async def test_a_host_is_public_when_all_of_its_addresses_are() -> None:
    web, _ = internet(one="8.8.8.8", mixed="8.8.8.8 10.0.0.1", inside="10.0.0.1")
    assert await web.has("one.test")
    for host in ("mixed.test", "inside.test", "nowhere.test"):
        assert not await web.has(host)


async def test_hosts_are_looked_up_in_every_way_of_writing_them() -> None:
    for host in ("localhost", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "::1"):
        assert all(address.is_loopback for address in await look_up(host))
    with pytest.raises(OSError, match="not a host's name"):
        await look_up("a" * 70 + ".test")


@pytest.mark.parametrize("host", [PRIVATE, "localhost"])
async def test_no_connection_is_made_to_what_is_not_public(host: str) -> None:
    async with upstream(reply({})) as server, PublicInternet().session() as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(f"http://{host}:{server.port}/")
        assert server.connections == 0


async def test_the_socket_has_the_last_word() -> None:
    """Even where the lookup would let an address pass, such as when a URL gives it in figures."""
    web, names = internet()
    async with upstream(reply({}), host=PUBLIC) as public, upstream(reply({})) as private, web.session() as session:
        async with session.get(public.url) as answer:
            assert answer.status == 200
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(private.url)
        assert (public.connections, private.connections, names.asked) == (1, 0, [])


async def test_a_proxy_from_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    web, _ = internet(site=PUBLIC)
    async with upstream(reply({})) as proxy, upstream(reply({}), host=PUBLIC) as public, web.session() as session:
        monkeypatch.setenv("http_proxy", proxy.url)
        async with session.get(f"http://site.test:{public.port}/") as answer:
            assert answer.status == 200
        assert (proxy.connections, public.connections) == (0, 1)
