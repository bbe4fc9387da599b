"""Who may call, decided before the body is read.

With API keys every route requires one, except those listed here. Without keys a server that only its own machine
reaches still refuses the web pages that a browser on that machine shows.
"""

import hashlib
import hmac
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path
from socket import gethostbyname
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from server.api.pages.page_routes import FILE_PATHS, PAGES
from server.api.paths import PROBE_OF
from server.config import Auth, Config, ConfigError
from server.config_file import read_text
from server.errors import HostNotAllowed, InvalidApiKey, OriginNotAllowed
from server.observability.trace import path_of

OPEN_PATHS = set(PROBE_OF)
# Scope key of who sends a request: callers share the server.
SCOPE_CALLER = "hearth.caller"
CALLER_DIGITS = 16
# Scope key of a request whose target is a whole URL, as for a proxy. No path is open in that form.
SCOPE_ABSOLUTE = "hearth.absolute"


class Keys:
    """The accepted keys, stored as SHA-256 digests."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests: list[bytes] = []
        self._known: frozenset[bytes] = frozenset()
        self.replace(keys)

    def replace(self, keys: Iterable[str]) -> None:
        """Accept exactly these keys from now on."""
        self._digests = [_digest(key) for key in keys]
        self._known = frozenset(self._digests)

    def knows(self, digest: bytes) -> bool:
        """Whether a digest is that of an accepted key. For shares of the server: access is decided by accept()."""
        return digest in self._known

    def __len__(self) -> int:
        return len(self._digests)

    def admit(self, headers: Headers) -> bool:
        """Whether a request may call every route: it has an accepted key, or none is needed."""
        return not self._digests or self.accept(_sent_keys(headers))

    def accept(self, sent: Iterable[str]) -> bool:
        """Whether any of the sent keys is accepted. The time taken does not depend on which key matches."""
        digests = [_digest(key) for key in sent]
        matches = [hmac.compare_digest(accepted, digest) for accepted in self._digests for digest in digests]
        return any(matches)


class Sites:
    """Which names a server may be addressed by, and which web pages may call it.

    An attacker's page can send requests to a server on the machine of its reader (a simple cross-origin POST), and can
    read the answers too if the name of its site then leads to 127.0.0.1 (DNS rebinding). The browser tells both: the
    first by `Origin`, the second by `Host`. Nobody can rebind an address, or a name without a dot.
    """

    def __init__(self, names: Iterable[str], origins: Iterable[str]) -> None:
        """Take further names of the server, and the origins that may call it; `*` is any."""
        self._names = {name.lower() for name in names}
        self._origins = set(origins)

    def check(self, headers: Headers) -> None:
        """Refuse a request that a page of another site may have sent.

        Raises: HostNotAllowed, OriginNotAllowed.
        """
        hosts = {_name_of(f"//{host}") for host in headers.getlist("host") if host}
        for host in hosts:
            if "." in host and not _is_address(host) and not host.endswith(".localhost") and not self._knows(host):
                raise HostNotAllowed(host)
        for origin in headers.getlist("origin"):
            name = _name_of(origin)
            is_own = name in hosts or _is_loopback(name) or self._knows(name)
            if not is_own and not self._origins & {origin, "*"}:
                raise OriginNotAllowed(origin)

    def _knows(self, name: str) -> bool:
        return bool(self._names & {name, "*"})


class AuthMiddleware:
    """Rejects requests without an accepted key, unless the path is open.

    Without keys it checks `sites` instead, if there are any.
    """

    def __init__(self, app: ASGIApp, keys: Keys, open_paths: frozenset[str], sites: Sites | None = None) -> None:
        self._app = app
        self._keys = keys
        self._open = open_paths
        self._sites = sites

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an authorised request on.

        Raises: InvalidApiKey, HostNotAllowed, OriginNotAllowed.
        """
        if scope["type"] == "http" and SCOPE_CALLER not in scope:
            scope[SCOPE_CALLER] = caller_of(scope, self._keys)
        if scope["type"] == "http" and len(self._keys) and not self._is_open(scope):
            headers = Headers(scope=scope)
            if not self._keys.admit(headers):
                raise InvalidApiKey(sent=bool(_sent_keys(headers)))
        # What is open with keys tells a page of another site nothing either: probes and files that are everyone's.
        if scope["type"] == "http" and self._sites is not None and not len(self._keys) and not self._is_open(scope):
            self._sites.check(Headers(scope=scope))
        await self._app(scope, receive, send)

    def _is_open(self, scope: Scope) -> bool:
        # HEAD arrives as GET. By method too: the same path may have a route that computes (POST /).
        if scope["method"] != "GET" or scope.get(SCOPE_ABSOLUTE):
            return False
        path = path_of(scope)
        return path in self._open or any(
            below in self._open and path.startswith(below) for below in map(_below, FILE_PATHS)
        )


def caller_of(scope: Scope, keys: Keys) -> str:
    """Who sends a request: its API key, if it is an accepted one; else its address, and any key if none is needed."""
    digests = [_digest(key) for key in _sent_keys(Headers(scope=scope))]
    for digest in digests:
        if keys.knows(digest):
            return digest.hex()[:CALLER_DIGITS]
    address: str = scope["client"][0] if scope.get("client") else ""
    # Behind a proxy that checks keys itself, they are all that tells callers apart.
    return address if len(keys) or not digests else f"{address} {digests[0].hex()[:CALLER_DIGITS]}"


def read_keys(auth: Auth) -> list[str]:
    """The keys in the configuration and in its keys_file.

    Raises: ConfigError: the file cannot be read, or contains no keys.
    """
    return [*(key.strip() for key in auth.keys), *(_from_file(auth.keys_file) if auth.keys_file else ())]


def open_paths(auth: Auth) -> frozenset[str]:
    """Paths that need no key for GET and HEAD; one that ends in a slash stands for all below it."""
    pages = {*PAGES, *map(_below, FILE_PATHS)} if auth.pages_open else set()
    return frozenset(OPEN_PATHS | pages | ({"/metrics"} if auth.metrics_open else set()))


def own_sites(config: Config) -> Sites | None:
    """The sites of a server that listens on a loopback address; None if it listens on another."""
    try:
        is_local = _is_loopback(config.host.lower()) or _is_loopback(gethostbyname(config.host))
    except OSError:
        is_local = False
    return Sites((config.host, *config.allowed_hosts), config.cors_origins) if is_local else None


def _name_of(url: str) -> str:
    """The host of a URL, lower-case and without port; "" if there is none, as in the origin `null`."""
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return url


def _is_address(name: str) -> bool:
    try:
        return bool(ip_address(name))
    except ValueError:
        return False


def _is_loopback(name: str) -> bool:
    return name == "localhost" or name.endswith(".localhost") or (_is_address(name) and ip_address(name).is_loopback)


def _below(path: str) -> str:
    return f"{path}/"


def _from_file(file: Path) -> list[str]:
    lines = [line.strip() for line in read_text(file, "auth.keys_file").splitlines()]
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        # An empty list of keys would open the server to everybody.
        raise ConfigError(f"auth.keys_file '{file}' contains no keys; write one key per line")
    return keys


def _sent_keys(headers: Headers) -> list[str]:
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    keys = [bearer.strip()] if scheme.lower() == "bearer" else []
    sent = [key for key in [*keys, headers.get("x-api-key", ""), headers.get("api-key", "")] if key]
    # Starlette decodes headers as latin-1, but clients encode keys in UTF-8.
    return [key.encode("latin-1").decode("utf-8", "replace") for key in sent]


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
