"""Draws the page at / for the README: python -m docs.generate.screenshots (needs chromium; make screenshots)."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

IMAGES = Path(__file__).parents[1] / "images"
HEARTH = Path(sys.executable).with_name("hearth")
DESKTOP = ViewportSize(width=1280, height=800)
PHONE = ViewportSize(width=390, height=844)


def main() -> None:
    """Serve what is served by default, and write docs/images/page-*.png."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        sys.exit("chromium is missing. On Debian: sudo apt install chromium fonts-noto-cjk")
    # In an empty folder: no configuration.
    with TemporaryDirectory() as folder, serve(folder) as server:
        url = next(match[1] for line in server.stderr or () if (match := re.search(r"Ready: (http://\S+)", line)))
        with sync_playwright() as playwright:
            draw(playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"]), url)
        server.terminate()


def serve(folder: str) -> "subprocess.Popen[str]":
    """A server of the default models; its log is in the pipe."""
    command = [HEARTH, "serve", "--port", "0"]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=folder)  # noqa: S603 - no outer input


def draw(browser: Browser, url: str) -> None:
    """The search in light and dark, on a phone, and the map."""
    for name, scheme in (("page", "light"), ("page-dark", "dark")):
        page = browser.new_page(viewport=DESKTOP, color_scheme=scheme)
        search(page, url)
        page.screenshot(path=IMAGES / f"{name}.png")
    page = browser.new_page(viewport=PHONE, device_scale_factor=2)
    search(page, url)
    page.screenshot(path=IMAGES / "page-phone.png")
    page = browser.new_page(viewport=DESKTOP)
    search(page, url)
    page.click("#tab-map")
    page.screenshot(path=IMAGES / "page-map.png")
    browser.close()


def search(page: Page, url: str) -> None:
    """Wait for both rankings of the first example, and for what moves to stand still."""
    page.emulate_media(reduced_motion="reduce")
    page.goto(url)
    page.wait_for_selector("#rerank-ranking .bar")
    page.wait_for_selector("#cosine:not(:empty)")


if __name__ == "__main__":
    main()
