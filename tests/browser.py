"""Debian's chromium, driven by Playwright: whether it is here, how it is started, and what a page must not do."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
IF_BROWSER_IS_HERE = pytest.mark.skipif(BROWSER is None or sys.platform != "linux", reason="there is no Chromium here")
NEEDS_BROWSER = [pytest.mark.slow, IF_BROWSER_IS_HERE]
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@contextlib.contextmanager
def start_browser() -> Iterator[Any]:
    """One browser, for the tests of a module."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=list(FLAGS))
        yield browser
        browser.close()


@contextlib.contextmanager
def open_quiet_page(browser: Any, is_allowed: Callable[[str], bool], **options: Any) -> Iterator[Any]:
    """A page that must say nothing on the console, open no dialog and ask no other host.

    `page.noise` is what it did; `page.allowed` are beginnings of messages that may come."""
    context = browser.new_context(viewport={"width": 1000, "height": 900}, **options)
    page, noise = context.new_page(), []
    page.set_default_timeout(30_000)
    page.noise, page.allowed = noise, ()
    page.on("console", lambda message: noise.append(message.text))
    page.on("pageerror", lambda error: noise.append(str(error)))
    page.on("dialog", lambda dialog: (noise.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: is_allowed(request.url) or noise.append(request.url))
    yield page
    context.close()
    assert [each for each in noise if not each.startswith(page.allowed or "\0")] == []


def wait_until(page: Any, expression: str) -> None:
    """Wait until an expression is true; `wait_for_function` of Playwright is stopped by the policy of a page."""
    from playwright.sync_api import Error

    for _ in range(600):
        with contextlib.suppress(Error):  # the page is being loaded again
            if page.evaluate(expression):
                return
        page.wait_for_timeout(50)
    pytest.fail(f"never true: {expression}")


def list_axe_faults(page: Any, **options: Any) -> list[tuple[str, list[str]]]:
    """What axe-core finds on a page: the rule, and the elements that break it."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-core is not installed").Axe()
    found = axe.run(page, options={"resultTypes": ["violations"], **options}).response["violations"]
    return [(each["id"], [node["html"][:200] for node in each["nodes"]]) for each in found]
