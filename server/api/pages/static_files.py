"""Files for browsers, and the headers that keep a page to itself."""

from collections.abc import Mapping
from typing import Any

from fastapi import Request, Response
from starlette.staticfiles import StaticFiles

PAGE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}


def policy(**directives: str) -> str:
    """A Content-Security-Policy that allows this server what is given (`script_src="'self'"`), and nothing else."""
    allowed: Mapping[str, str] = {
        "default-src": "'none'",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        **{name.replace("_", "-"): sources for name, sources in directives.items()},
    }
    return "; ".join(f"{name} {sources}" for name, sources in allowed.items())


def relative_base(request: Request, page: str, root_path: str = "") -> str:
    """The way from the address that the browser shows for `page` to the server's root: "", or "../" below a slash.

    Addresses in a page are relative, so that it works below a mount and behind a proxy's prefix. A prefix that is
    configured is named: a proxy that removes it hides whether the address had a last slash.
    """
    if root_path:
        return f"{root_path}/"
    path = request.scope.get("raw_path", b"").decode("latin-1")
    return "../" if page != "/" and path.endswith("/") else ""


class PageFiles(StaticFiles):
    """Static files with the headers of a page. Browsers ask again whether a file is still the same."""

    def file_response(self, *arguments: Any, **options: Any) -> Response:
        response = super().file_response(*arguments, **options)
        response.headers.update({**PAGE_HEADERS, "Cache-Control": "no-cache"})
        return response
