"""Writes the committed copy of /openapi.json anew: `python -m tests.contract.write_openapi`."""

import json

from server.api.app import create_app
from server.config import Config
from server.observability.metrics import Metrics
from server.registry import ModelRegistry
from tests.support.http.openapi_schema import DOCUMENT_FILE


def main() -> None:
    """The document does not depend on what is served."""
    app = create_app(Config(), ModelRegistry([]), object(), Metrics())  # type: ignore[arg-type]
    DOCUMENT_FILE.write_text(json.dumps(app.openapi(), indent=1, sort_keys=True, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
