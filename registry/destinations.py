"""Where webhooks may go: hosts on the operator's allow-list, at addresses that are public or on the list themselves.

A name is looked up when a message is sent, and the connection goes to the address that was checked: a name that means
another host a moment later (DNS rebinding) gains nothing.
"""

import fnmatch
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from registry.errors import InvalidError

PORTS = {"http": 80, "https": 443}
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The host and port of a URL that is allowed."""

    host: str
    port: int


class Destinations:
    """The operator's list (SAT_WEBHOOK_HOSTS): names, `*.domain`, addresses and networks."""

    def __init__(self, listed: Iterable[str]) -> None:
        self._names: list[str] = []
        self._networks: list[Network] = []
        for each in listed:
            network = _network(each)
            if network is None:
                self._names.append(each.lower())
            else:
                self._networks.append(network)

    def check(self, url: str) -> Endpoint:
        """The host and port of the URL; InvalidError, with what to do, unless it may be told anything."""
        parts = _split(url)
        host = (parts.hostname or "").rstrip(".") if parts else ""
        if parts is None or parts.scheme not in PORTS or not host:
            raise InvalidError("a webhook's URL begins with https:// (or http://) and a host.")
        if parts.username is not None or parts.password is not None or parts.fragment:
            raise InvalidError("a webhook's URL holds no user, password or fragment: its messages are signed instead.")
        if not self._names and not self._networks:
            raise InvalidError(
                "this server tells no webhooks: its operator sets SAT_WEBHOOK_HOSTS to allow some hosts."
            )
        address = _address(host)
        listed = self._lists(address) if address else any(fnmatch.fnmatchcase(host, name) for name in self._names)
        if not listed:
            raise InvalidError(f"the host {host!r} is not among those that webhooks may be on (SAT_WEBHOOK_HOSTS).")
        return Endpoint(host, parts.port or PORTS[parts.scheme])

    def choose(self, host: str, addresses: Iterable[str]) -> str:
        """The first of the host's addresses; InvalidError when any is neither public nor on the list."""
        found = [ipaddress.ip_address(each.partition("%")[0]) for each in addresses]
        for address in found:
            if not self._lists(address) and not _is_public(address):
                raise InvalidError(
                    f"{host!r} is at {address}, in a private network: the operator adds that address to "
                    "SAT_WEBHOOK_HOSTS where this is meant."
                )
        if not found:
            raise InvalidError(f"{host!r} has no address.")
        return str(found[0])

    def _lists(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


# They hold an IPv4 address, and lead to any: compatible ones, and those of translators.
_LEADING_ELSEWHERE = tuple(map(ipaddress.ip_network, ("::/96", "64:ff9b::/96", "64:ff9b:1::/48")))


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        # ::ffff:10.0.0.1 is 10.0.0.1, and 2002:0a00:0001:: a tunnel to it
        inner = address.ipv4_mapped or address.sixtofour
        if inner is not None:
            return _is_public(inner)
        if any(address in network for network in _LEADING_ELSEWHERE):
            return False
    return address.is_global and not address.is_multicast


def _split(url: str) -> SplitResult | None:
    if any(ord(each) <= ord(" ") or each == "\\" for each in url):
        return None  # libraries disagree about what such a URL means
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts


def _network(text: str) -> Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _address(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
