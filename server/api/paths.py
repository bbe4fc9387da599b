"""Which route a request's path means: slashes and base URLs that were joined twice are the commonest mistakes in use.

A client joins a base URL and a path of its own, so a base URL with a path too many (`/v1` for a client that appends
`v1/embeddings`, or the whole address of a route) arrives here as a doubled one. It can only mean one route.
"""

import re
from collections.abc import Iterable, Mapping, Set
from difflib import get_close_matches

from starlette.routing import compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

from server.observability.trace import path_of

# The probes: those of Kubernetes' own parts end in z, and SageMaker requests /ping.
PROBE_ALIASES: Mapping[str, tuple[str, ...]] = {
    "/live": ("/livez",),
    "/health": ("/healthz",),
    "/ready": ("/readyz", "/ping"),
}
# Each path of a probe, and the probe that it is.
PROBE_OF: Mapping[str, str] = {path: probe for probe, aliases in PROBE_ALIASES.items() for path in (probe, *aliases)}
# Longer paths are not repaired. A model's name may have more segments: such a path needs no repair.
MAX_SEGMENTS = 16
# difflib's ratio: /v1/embedding is 0.96 like /v1/embeddings.
MIN_LIKENESS = 0.8
# Not those of a model's name with a scheme: s3://bucket/name.
_SLASHES = re.compile("(?<!:)/{2,}")


class PathTable:
    """The paths that routes have, and the route that another path can only mean.

    Args:
        paths: every path, with parameters as Starlette writes them, and its methods; of several near ones the first is
            suggested.
        bases: paths that users put into base URLs.
        own_bases: prefixes whose every path belongs to one API, each with that API's base.
        mounts: prefixes below which everything is a route.
    """

    def __init__(
        self,
        paths: Mapping[str, Set[str]],
        bases: Iterable[str] = (),
        own_bases: Mapping[str, str] | None = None,
        mounts: Iterable[str] = (),
    ) -> None:
        self._paths = {path: methods for path, methods in paths.items() if "{" not in path}
        self._patterns = {compile_path(path)[0]: methods for path, methods in paths.items() if "{" in path}
        self._own_bases = dict(own_bases or {})
        self._mounts = tuple(f"{mount}/" for mount in mounts)
        heads = {*bases, *self._own_bases.values(), *self._paths} - {"/"}
        # The longest first: /v1/rerank/rerank is /rerank after /v1/rerank, not a doubled route after /v1.
        self._heads = sorted((f"{head}/" for head in heads), key=len, reverse=True)

    def __contains__(self, path: str) -> bool:
        return (
            path in self._paths
            or path.startswith(self._mounts)
            or any(pattern.match(path) for pattern in self._patterns)
        )

    def resolve(self, path: str) -> str:
        """The path of a route, if `path` can only mean that one, else `path` itself."""
        if path in self._paths:
            return path
        rest = _SLASHES.sub("/", path)
        if rest in self:
            return rest
        if rest.count("/") > MAX_SEGMENTS:
            return path
        passed = ""
        while rest not in self:
            head = self._head(rest)
            if not head:
                return path
            passed, rest = passed + head, rest.removeprefix(head)
        return self._within(passed, rest) or path

    def allowed(self, path: str) -> list[str]:
        """The methods of the route that `path` means."""
        path = self.resolve(path)
        patterns = (methods for pattern, methods in self._patterns.items() if pattern.match(path))
        methods = self._paths.get(path) or next(patterns, set[str]())
        return sorted({*methods, "HEAD"} if "GET" in methods else methods)

    def nearest(self, path: str) -> str | None:
        """A path that the client may have meant."""
        if endings := [known for known in self._paths if known.count("/") > 1 and path.endswith(known)]:
            return max(endings, key=len)
        ending = path.rpartition("/")[2]
        same_ending = [known for known in self._paths if ending and known.endswith(f"/{ending}")]
        matches = get_close_matches(path[:64], same_ending or self._paths, 1, 0 if same_ending else MIN_LIKENESS)
        return matches[0] if matches else None

    def _head(self, path: str) -> str:
        """What may be dropped from the beginning of a path: a base URL, a route, or a doubled segment."""
        first, *more = path[1:].split("/")
        if more and more[0] == first:
            return f"/{first}"
        return next((head[:-1] for head in self._heads if path.startswith(head)), "")

    def _within(self, passed: str, path: str) -> str | None:
        """The route that `path` is in the API whose prefix was dropped with `passed`; None if it has no such route."""
        for prefix, base in self._own_bases.items():
            if passed.startswith(prefix.rstrip("/")) and not path.startswith(prefix):
                unversioned = re.sub(r"^/v\d+(?=/)", "", path)
                return base + unversioned if base + unversioned in self else None
        return path


class PathMiddleware:
    """Replaces the path of a request by that of the route which it means."""

    def __init__(self, app: ASGIApp, table: PathTable) -> None:
        self._app = app
        self._table = table

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["path"] = scope.get("root_path", "") + self._table.resolve(path_of(scope))
        await self._app(scope, receive, send)
