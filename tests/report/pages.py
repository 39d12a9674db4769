"""What the tests of every page ask of it."""

import re
from html.parser import HTMLParser

HOSTILE = (
    "<img src=x onerror=alert(1)></script><script>alert(2)</script>'\"><svg onload=a> &amp; "
    "{{ 7*7 }} \u202egnp.exe\u2066"
)


def text_of(page: str) -> str:
    """What a reader sees, with runs of blanks as one."""
    body = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", body)).replace("\N{NON-BREAKING HYPHEN}", "-")


class Elements(HTMLParser):
    """Every element of a page and every attribute, as a browser's parser would find them."""

    void = frozenset({"meta", "br", "img"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def check_that_it_loads_and_runs_nothing(page: str) -> None:
    elements = Elements(page)
    assert elements.open == []
    assert elements.names.isdisjoint(
        ["script", "link", "img", "iframe", "a", "object", "embed", "base", "form", "image", "use"]
    )
    assert elements.attributes.isdisjoint({"src", "href", "srcset", "action", "data", "poster", "style"})
    assert not any(name.startswith("on") for name in elements.attributes)
    assert "url(" not in page
    assert "@import" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in page
