"""/docs: Swagger UI over this server's OpenAPI document."""

from base64 import b64encode
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

from fastapi import Request, Response
from fastapi.responses import HTMLResponse

from server.api.pages.static_files import PAGE_HEADERS, policy, relative_base
from server.api.route_table import Route

# Swagger UI from the package fastapi-offline; its own application class is not used.
DOCS_FILES = Path(str(files("fastapi_offline"))) / "static"
DOCS_FILES_PATH = "/docs/assets"

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="stylesheet" href="{base}docs/assets/swagger-ui.css">
<link rel="icon" href="{base}docs/assets/favicon.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="{base}docs/assets/swagger-ui-bundle.js"></script>
<script>{script}</script>
</body>
</html>
"""
# A proxy that removes a prefix is not named in the document unless root_path is set: "Execute" must go through it.
# Without validatorUrl the page sends the document's address to a host of Swagger's.
_SCRIPT = """
const url = "{base}openapi.json";
const prefix = new URL(url, location.href).pathname.replace("/openapi.json", "");
function withPrefix(answer) {{
  if (prefix && answer.url.endsWith("/openapi.json")) {{
    answer.text = JSON.stringify({{servers: [{{url: prefix}}], ...JSON.parse(answer.text)}});
  }}
  return answer;
}}
SwaggerUIBundle({{url, dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null, responseInterceptor: withPrefix}});
"""


def docs_route(title: str, root_path: str) -> Route:
    """GET /docs. Its files are at DOCS_FILES_PATH."""

    async def docs(request: Request) -> Response:
        return _page(title, relative_base(request, "/docs", root_path))

    return Route("GET", ("/docs",), docs, None)


def _page(title: str, base: str) -> Response:
    script = _SCRIPT.format(base=base)
    digest = b64encode(sha256(script.encode()).digest()).decode()
    # Swagger UI sets styles in elements, and has its icons in the style sheet.
    security = policy(
        script_src=f"'self' 'sha256-{digest}'",
        style_src="'self' 'unsafe-inline'",
        img_src="'self' data:",
        font_src="'self' data:",
    )
    return HTMLResponse(
        _PAGE.format(title=title, base=base, script=script),
        headers={**PAGE_HEADERS, "Content-Security-Policy": security},
    )
