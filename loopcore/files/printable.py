# SPDX-License-Identifier: Apache-2.0
"""Text from files and their names, made fit to be shown."""

import unicodedata


def printable(text: str) -> str:
    """Returns the text with control characters, line ends and parts of characters written as escapes.

    Args:
        text: of any origin, such as a file's name.
    """
    return "".join(repr(c)[1:-1] if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") else c for c in text)
