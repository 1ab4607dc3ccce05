"""A public internet on this machine: one loopback address plays a public one, every other stays what it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address

from deployments.egress.images import ImageUrls
from deployments.egress.public_internet import Address, PublicInternet, is_public

PUBLIC = "127.0.0.2"
PRIVATE = "127.0.0.1"


class Names:
    """Says what each host's addresses are; those that are asked for again get the next answer, if there is one."""

    def __init__(self, hosts: Mapping[str, str | Sequence[str]]) -> None:
        self._hosts = {host: [said] if isinstance(said, str) else list(said) for host, said in hosts.items()}
        self.asked: list[str] = []

    async def look_up(self, host: str) -> Sequence[Address]:
        self.asked.append(host)
        answers = self._hosts.get(host)
        if answers is None:
            raise OSError("there is no such host")
        said = answers.pop(0) if len(answers) > 1 else answers[0]
        return [ip_address(text) for text in said.split()]


def internet(**hosts: str | Sequence[str]) -> tuple[PublicInternet, Names]:
    """An internet whose hosts are NAME.test."""
    names = Names({f"{name}.test": said for name, said in hosts.items()})
    return PublicInternet(names.look_up, lambda address: str(address) == PUBLIC or is_public(address)), names


def images(**hosts: str | Sequence[str]) -> ImageUrls:
    return ImageUrls(internet(**hosts)[0])
