"""API keys. Every route requires one, except those listed here. Keys are checked before the body is read."""

import hashlib
import hmac
from collections.abc import Iterable
from pathlib import Path

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from server.api.pages.page_routes import FILE_PATHS, PAGES
from server.config import Auth, ConfigError
from server.config_file import read_text
from server.errors import InvalidApiKey
from server.observability.trace import path_of

OPEN_PATHS = {"/health", "/live", "/ready"}
# Scope key of who sends a request: callers share the server.
SCOPE_CALLER = "hearth.caller"
CALLER_DIGITS = 16


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

    def accept(self, sent: Iterable[str]) -> bool:
        """Whether any of the sent keys is accepted. The time taken does not depend on which key matches."""
        digests = [_digest(key) for key in sent]
        matches = [hmac.compare_digest(accepted, digest) for accepted in self._digests for digest in digests]
        return any(matches)


class AuthMiddleware:
    """Rejects requests without an accepted key, unless the path is open or no keys are configured."""

    def __init__(self, app: ASGIApp, keys: Keys, open_paths: frozenset[str]) -> None:
        self._app = app
        self._keys = keys
        self._open = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an authorised request on.

        Raises: InvalidApiKey.
        """
        if scope["type"] == "http" and SCOPE_CALLER not in scope:
            scope[SCOPE_CALLER] = caller_of(scope, self._keys)
        if scope["type"] == "http" and len(self._keys) and not self._is_open(scope["method"], path_of(scope)):
            sent = _sent_keys(Headers(scope=scope))
            if not self._keys.accept(sent):
                raise InvalidApiKey(sent=bool(sent))
        await self._app(scope, receive, send)

    def _is_open(self, method: str, path: str) -> bool:
        # HEAD arrives as GET. By method too: the same path may have a route that computes (POST /).
        return method == "GET" and (
            path in self._open or any(files in self._open and path.startswith(f"{files}/") for files in FILE_PATHS)
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
    """Paths that need no key for GET and HEAD."""
    pages = {*PAGES, *FILE_PATHS} if auth.pages_open else set()
    return frozenset(OPEN_PATHS | pages | ({"/metrics"} if auth.metrics_open else set()))


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
