"""A hub of one's own on this machine: it speaks what huggingface_hub asks of the real one for a download."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

REVISION = "a" * 40
LARGE = ".safetensors"  # as the hub: kept by checksum


class Hub:
    """Repositories by id, each a folder; what was asked of it, and how it misbehaves."""

    def __init__(self, repositories: Mapping[str, Path]) -> None:
        self.repositories = dict(repositories)
        self.revision = REVISION
        self.gated: set[str] = set()
        self.failing: set[str] = set()
        """Files that it cannot give at the moment."""
        self.cut_after: int | None = None
        """Bytes after which a download of a large file breaks off, once."""
        self.asked: list[str] = []
        self.agents: set[str] = set()
        """Who it was told was asking."""
        self.sent_bytes = 0
        self.url = ""

    def files(self, repository: str) -> dict[str, bytes]:
        """Every file of a repository."""
        folder = self.repositories[repository]
        return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@contextmanager
def serve_hub(repositories: Mapping[str, Path]) -> Iterator[Hub]:
    """A hub that lives as long as the block."""
    hub = Hub(repositories)
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield hub
        server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        self.hub.agents.add(self.headers.get("User-Agent", ""))
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/(\w+)", path):
            return self._describe(found[1], found[2], self._tree)
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(\w+))?", path):
            return self._describe(found[1], found[2], self._info)
        found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/(\w+)/(.+)", path)
        assert found, path
        return self._file(found[1], found[3])

    def _describe(self, repository, revision, describe) -> None:
        if repository not in self.hub.repositories:
            return self._fail(404, "RepoNotFound")
        if revision not in (None, "main", self.hub.revision):
            return self._fail(404, "RevisionNotFound")
        body = json.dumps(describe(repository)).encode()
        return self._send(200, {"Content-Type": "application/json"}, body)

    def _info(self, repository: str) -> object:
        siblings = [
            {"rfilename": name, "size": len(content), "blobId": _blob(content)}
            | ({"lfs": {"size": len(content), "sha256": _sha(content), "pointerSize": 130}} if _large(name) else {})
            for name, content in self.hub.files(repository).items()
        ]
        return {"id": repository, "sha": self.hub.revision, "siblings": siblings}

    def _tree(self, repository: str) -> object:
        return [
            {"type": "file", "path": name, "size": len(content), "oid": _blob(content)}
            | ({"lfs": {"size": len(content), "oid": _sha(content), "pointerSize": 130}} if _large(name) else {})
            for name, content in self.hub.files(repository).items()
        ]

    def _file(self, repository: str, name: str) -> None:
        if repository in self.hub.gated:
            return self._fail(403, "GatedRepo")
        if name in self.hub.failing:
            return self._fail(404, "EntryNotFound")
        content = self.hub.files(repository)[name]
        tag = _sha(content) if _large(name) else _blob(content)
        headers = {"ETag": f'"{tag}"', "X-Repo-Commit": self.hub.revision, "Accept-Ranges": "bytes"}
        start = int(match[1]) if (match := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))) else 0
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return self._send(206 if start else 200, headers, content[start:], can_break=_large(name))

    def _fail(self, status: int, code: str) -> None:
        self._send(status, {"X-Error-Code": code, "X-Error-Message": code}, b"")

    def _send(self, status: int, headers: Mapping[str, str], body: bytes, *, can_break: bool = False) -> None:
        self.send_response(status)
        for header, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(header, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if can_break and self.hub.cut_after is not None:
            body, self.hub.cut_after = body[: self.hub.cut_after], None
            self.close_connection = True
        self.wfile.write(body)
        self.hub.sent_bytes += len(body)


def _large(name: str) -> bool:
    return name.endswith(LARGE)


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
