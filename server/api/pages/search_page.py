"""/: a page to try searches, see vectors, copy a request as code, and watch the server. Its files are in web/."""

from html import escape
from importlib.resources import files
from pathlib import Path

from fastapi import Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from server.api.pages.static_files import PAGE_HEADERS, policy, relative_base
from server.api.route_table import Route

PAGE_FILES = Path(str(files("server.api.pages"))) / "web"
PAGE_FILES_PATH = "/page"

# No script or style stands in the page itself.
_SECURITY = policy(script_src="'self'", style_src="'self'", img_src="'self'")


def search_route(title: str, root_path: str) -> Route:
    """GET /. Its files are at PAGE_FILES_PATH."""
    template = (PAGE_FILES / "index.html").read_text(encoding="utf-8").replace("{title}", escape(title))

    async def page(request: Request) -> Response:
        accepted = request.headers.get("accept", "")
        if "text/html" not in accepted and "*/*" not in accepted:
            # A program behind a proxy looks for the API, and finds it at a relative address whatever the prefix.
            return RedirectResponse(f"{relative_base(request, '/', root_path) or './'}docs")
        content = template.replace("{base}", escape(relative_base(request, "/", root_path)))
        return HTMLResponse(content, headers={**PAGE_HEADERS, "Content-Security-Policy": _SECURITY})

    return Route("GET", ("/",), page, None)
