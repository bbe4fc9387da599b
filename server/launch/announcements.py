"""What `hearth serve` says about itself: at its start where it listens, what is unusual, and what to try; to systemd
that it runs.
"""

import asyncio
import logging
from contextlib import suppress
from ipaddress import ip_address
from socket import AF_INET6, AF_UNIX, SOCK_DGRAM, socket

from server import VERSION
from server.registry import ModelRegistry

log = logging.getLogger("hearth")

WATCHDOG_S = 1.0

EMBED = ("/v1/embeddings", '{"input": "hello"}')
RERANK = ("/v1/rerank", '{"query": "a", "documents": ["b", "c"]}')


def log_start(registry: ModelRegistry, listener: socket, *, has_keys: bool) -> None:
    """Log where the server listens, and warn of what an operator should know."""
    for model in registry.models:
        log.debug("%s: %s, because %s", model.id, model.kind, model.preprocessor.info.kind_reason)
        default = model.preprocessor.prompts.default_name
        if default and model.kind != "reranker" and model.config.prompt_name is None:
            log.warning("%s: its default prompt %r is only added if prompt_name asks for it", model.id, default)
    host, port = listener.getsockname()[:2]
    if not has_keys and not ip_address(host).is_loopback:
        log.warning(
            "no API keys are configured, and %s can be reached from other machines: everyone who reaches port %d can "
            "use the server; set auth.keys_file",
            host,
            port,
        )
    count = len(registry.models)
    log.info("Hearth %s listens on %s and loads %d model%s", VERSION, _url(host, port), count, "s" * (count != 1))


def ready_line(registry: ModelRegistry, listener: socket, *, has_keys: bool) -> str:
    """The last line of a start: the base URL, and a first request."""
    host, port = listener.getsockname()[:2]
    if ip_address(host).is_unspecified:
        host = "::1" if listener.family == AF_INET6 else "127.0.0.1"
    url = _url(host, port)
    path, body = RERANK if all(model.kind == "reranker" for model in registry.models) else EMBED
    key = " -H 'Authorization: Bearer KEY'" if has_keys else ""
    curl = f"curl {url}{path} -H 'Content-Type: application/json'{key} -d '{body}'"
    return f"Ready: {url} - open it in a browser, or try: {curl}"


async def tell_systemd(address: str) -> None:
    """Tell systemd that the event loop has started, then each second that it runs: sd_notify(3).

    `address` is NOTIFY_SOCKET; "" tells nobody.
    """
    if not address:
        return
    with socket(AF_UNIX, SOCK_DGRAM) as service_manager:
        service_manager.settimeout(0)
        message = b"READY=1\nWATCHDOG=1"
        while True:
            with suppress(OSError):  # it restarts, or reads nothing now
                service_manager.sendto(message, address.replace("@", "\0", 1) if address[0] == "@" else address)
                message = b"WATCHDOG=1"
            await asyncio.sleep(WATCHDOG_S)


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
