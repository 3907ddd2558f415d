"""Webhooks: where they may go, how they are signed, and one call of one."""

import hashlib
import hmac
import json
import logging
import socket
import ssl
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any
from urllib.parse import urlsplit

import httpcore

from server.errors import WebhookRefused

TIMESTAMP_HEADER = "PECA-Timestamp"
SIGNATURE_HEADER = "PECA-Signature"
EVENT_HEADER = "PECA-Event-Id"
TIMEOUT_S = 10.0
_LOGGER = logging.getLogger(__name__)
_PORTS = {"http": 80, "https": 443}
# What is not for the public internet (IANA, special-purpose address registries): our own lists, since those
# of Python differ from release to release.
_NOT_PUBLIC_V4 = tuple(
    IPv4Network(one)
    for one in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",
    )
)
_PUBLIC_V6 = IPv6Network("2000::/3")
# Teredo and its neighbours, documentation, 6to4, documentation.
_NOT_PUBLIC_V6 = tuple(IPv6Network(one) for one in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
# Carries an address of IPv4 in its last 32 bits (RFC 6052), and is how one reaches it from where there is
# only IPv6. A site's own such prefix, as 64:ff9b:1::/48 (RFC 8215), leads wherever the site likes.
_NAT64 = IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a webhook goes, looked up and found to be allowed.

    Attributes:
        url: As the watchlist's maker gave it.
        address: The IP address that is connected to; nothing is looked up again.
        port: Of that address.
    """

    url: str
    address: str
    port: int


def resolve(url: str, *, inside: Sequence[IPv4Network | IPv6Network]) -> Target:
    """Look up where a webhook goes.

    Args:
        url: ``https://...``.
        inside: Networks of which addresses are taken that are not public, and ``http``.

    Raises:
        WebhookRefused: It is no such address, its name cannot be looked up, or it leads to an address
            that is neither public nor inside. Which address that is only the server's log tells: who
            makes watchlists could look up the names of a site with it.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError as error:
        raise WebhookRefused(
            f"a webhook's address must be one such as https://example.com/hits: {error}"
        ) from None
    schemes = ("https", "http") if inside else ("https",)
    if (
        parts.scheme not in schemes
        or not parts.hostname
        or parts.username is not None
        or not (url.isascii() and url.isprintable())
    ):
        raise WebhookRefused(
            f"a webhook's address must begin with {' or '.join(f'{one}://' for one in schemes)} and name a "
            "host, in ASCII, without a user name"
        )
    addresses = _looked_up(parts.hostname, port)
    outside = [one for one in addresses if not any(ip_address(one) in network for network in inside)]
    refused = [one for one in outside if parts.scheme == "http" or not is_public(one)]
    if refused:
        _LOGGER.warning("a webhook is refused: %s leads to %s", parts.hostname, refused[0])
        raise WebhookRefused(
            f"{parts.hostname} leads to what is not a public address, or not to be called by http; the "
            "setting webhooks_allow_private names networks that are called all the same"
        )
    return Target(url, addresses[0], port)


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet, also where NAT64 wraps one of IPv4.

    Other forms that carry one of IPv4 inside (mapped, compatible, 6to4, Teredo) are not: no name of a
    public host leads to such.
    """
    ip = ip_address(address)
    if isinstance(ip, IPv6Address) and ip in _NAT64:
        ip = IPv4Address(int(ip) & 0xFFFFFFFF)
    if isinstance(ip, IPv4Address):
        return not any(ip in network for network in _NOT_PUBLIC_V4)
    return ip in _PUBLIC_V6 and not any(ip in network for network in _NOT_PUBLIC_V6)


def signed_headers(secret: str, body: bytes, event_id: int, now: float) -> dict[str, str]:
    """What proves to the receiver who sent ``body``, and when.

    Args:
        secret: Of the watchlist's webhook.
        body: What is sent.
        event_id: Of the hit; the receiver may see one twice.
        now: Epoch, s.

    Returns:
        The headers; the signature is ``v1=`` and the HMAC-SHA256, in hexadecimal digits, of the
        timestamp, a full stop and the body.
    """
    timestamp = str(int(now))
    digest = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return {
        "Content-Type": "application/json",
        "User-Agent": "PECA-Webhook/1",
        TIMESTAMP_HEADER: timestamp,
        SIGNATURE_HEADER: f"v1={digest}",
        EVENT_HEADER: str(event_id),
    }


def call(target: Target, body: bytes, headers: dict[str, str], timeout_s: float = TIMEOUT_S) -> int:
    """POST ``body``; neither redirects nor proxies are followed, and no answer's body is read.

    Args:
        target: Where; TLS checks the certificate against the name in its address.
        body: What.
        headers: With it.
        timeout_s: Longest wait for all of it together.

    Returns:
        The status of the answer.

    Raises:
        OSError: No answer came: connection, TLS, time or protocol; the message says which.
    """
    backend = _Pinned(target, time.monotonic() + timeout_s)
    context = ssl.create_default_context()
    try:
        with (
            httpcore.ConnectionPool(ssl_context=context, network_backend=backend) as pool,
            pool.stream("POST", target.url, headers=list(headers.items()), content=body) as response,
        ):
            return int(response.status)
    except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
        raise OSError(f"{type(error).__name__}: {error}") from error


def json_body(event: dict[str, Any]) -> bytes:
    """The body that carries an event."""
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode()


class _Pinned(httpcore.SyncBackend):
    """Connects to the address that was looked up and allowed, and to no other, until a deadline."""

    def __init__(self, target: Target, deadline: float) -> None:
        self._target = target
        self._deadline = deadline

    def connect_tcp(
        self,
        host: str,  # noqa: ARG002 - it was looked up before
        port: int,  # noqa: ARG002
        timeout: float | None = None,  # noqa: ARG002
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        stream = super().connect_tcp(
            self._target.address, self._target.port, _left(self._deadline), local_address, socket_options
        )
        return _Hurried(stream, self._deadline)


class _Hurried(httpcore.NetworkStream):
    """A stream with one deadline for all that is done with it."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        return self._stream.read(max_bytes, _left(self._deadline))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        self._stream.write(buffer, _left(self._deadline))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        stream = self._stream.start_tls(ssl_context, server_hostname, _left(self._deadline))
        return _Hurried(stream, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("it took too long")
    return left


def _looked_up(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise WebhookRefused(f"the host {host} cannot be looked up: {error}") from None
    return [str(entry[4][0]).partition("%")[0] for entry in found]
