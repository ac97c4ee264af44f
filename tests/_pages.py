# SPDX-License-Identifier: Apache-2.0
"""Reads the HTML pages that Loopcore writes, and checks what holds for each of them."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

# Characters that end an element or an attribute; those that no file of Windows may be named with are left out there.
HOSTILE = "&'x" if os.name == "nt" else "<img src=x onerror=alert(1)>&\"'"
_VOID = {"meta", "img"}


@dataclass
class Element:
    """One element: its name, its attributes, and the text inside it and the elements in it."""

    tag: str
    attributes: dict[str, str]
    text: str = ""


@dataclass
class Page(HTMLParser):
    """A page as a browser reads it."""

    elements: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._open: list[Element] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        assert len(element.attributes) == len(attrs), f"an attribute twice: {attrs}"
        self.elements.append(element)
        if tag not in _VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open and self._open[-1].tag == tag, f"</{tag}> closes {self._open[-1:]}"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data

    def all(self, tag: str, kind: str = "") -> list[Element]:
        """The elements of a name, and of a class if one is given."""
        return [
            e for e in self.elements if e.tag == tag and (not kind or kind in e.attributes.get("class", "").split())
        ]

    def meta(self, name: str) -> str:
        (found,) = [e for e in self.all("meta") if name in (e.attributes.get("name"), e.attributes.get("http-equiv"))]
        return found.attributes["content"]


def read(path: Path) -> Page:
    """A page that is closed, safe and self-contained."""
    page = Page()
    page.feed(path.read_text("utf-8"))
    page.close()
    assert not page._open, page._open
    _check_safe(page)
    return page


def data(uri: str, kind: str) -> bytes:
    """The bytes of a data: URI of a media type."""
    head = f"data:{kind};base64,"
    assert uri.startswith(head), uri[:60]
    return base64.b64decode(uri.removeprefix(head), validate=True)


def _check_safe(page: Page) -> None:
    """No script, no handler of events, nothing from elsewhere, and a policy that allows none of them."""
    assert not {e.tag for e in page.elements} & {"script", "iframe", "object", "embed", "link", "base", "form"}
    for element in page.elements:
        for name, value in element.attributes.items():
            assert not name.startswith("on") and name != "style", element
            if name in ("src", "poster", "srcset", "data", "action", "xlink:href"):
                assert value.startswith("data:"), element
            if name == "href":
                assert re.fullmatch(r"\./[\w.~%/-]+", value, re.ASCII), element
    (style,) = page.all("style")
    assert "url(" not in style.text and "@import" not in style.text
    digest = base64.b64encode(hashlib.sha256(style.text.encode()).digest()).decode()
    policy = dict(part.strip().split(" ", 1) for part in page.meta("Content-Security-Policy").split(";"))
    assert policy["default-src"] == "'none'" and policy["style-src"] == f"'sha256-{digest}'"
    assert policy["img-src"] == "data:" and "script-src" not in policy
    assert not re.search(r"https?:", " ".join(v for e in page.elements for v in e.attributes.values() if len(v) < 999))
