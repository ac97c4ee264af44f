# SPDX-License-Identifier: Apache-2.0
"""Parts of HTML pages that need no other file, no network and no script."""

from __future__ import annotations

import base64
import hashlib
from html import escape

from loopcore.errors import one_line

_LONGEST = 400  # letters of a text


def content_policy(template: str) -> str:
    """Returns the Content-Security-Policy of a page: pictures and films from the page itself, and its one style.

    Args:
        template: the page with its `<style>` element.
    """
    style = template.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        f"default-src 'none'; img-src data:; media-src data:; style-src 'sha256-{digest}'; base-uri 'none'; "
        "form-action 'none'"
    )


def text(value: object) -> str:
    """Returns a value of any origin as text that can stand in an element or an attribute.

    Args:
        value: what to show; cut if it is very long.
    """
    whole = str(value)
    line = one_line(whole if len(whole) <= _LONGEST else whole[:_LONGEST] + " ...")
    # Names that are not UTF-8 have halves of surrogate pairs.
    return escape(line.encode("utf-8", "backslashreplace").decode())


def data_uri(kind: str, data: bytes) -> str:
    """Returns a file as a URI.

    Args:
        kind: its media type.
        data: its bytes.
    """
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def picture(data: bytes, alternative: str) -> str:
    """Returns an `<img>` element.

    Args:
        data: a JPEG.
        alternative: what it shows, in words.
    """
    return f'<img src="{data_uri("image/jpeg", data)}" alt="{text(alternative)}">'
