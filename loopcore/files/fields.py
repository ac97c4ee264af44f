# SPDX-License-Identifier: Apache-2.0
"""Reads the values of a JSON object, each once and with its type."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loopcore.errors import SequenceError
from loopcore.files.regular import os_reason, read_regular

_MISSING = object()
_WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", list: "a list"}


def _encodable(text: str) -> bool:
    """Returns whether a text can be part of a path; bytes that are not UTF-8 can, as Python escapes them."""
    try:
        os.fsencode(text)
    except ValueError:
        return False
    return "\0" not in text


class Fields:
    """The values of a JSON object, each read once with its type; `finish` refuses those not read.

    Args:
        values: the object.
        owner: what it belongs to, for messages.
        error: the class of the errors raised.
        base: the folder at which relative paths start.
    """

    def __init__(
        self, values: Mapping[str, Any], owner: str, error: type[Exception] = SequenceError, base: Path | None = None
    ) -> None:
        self._left, self._owner, self._error, self._base = dict(values), owner, error, base or Path()

    def default(self, name: str, value: Any) -> None:
        """Sets a value where it is absent or null.

        Args:
            name: of the value.
            value: its default.
        """
        if self._left.get(name) is None:
            self._left[name] = value

    def take(self, name: str, kind: type, default: Any = _MISSING) -> Any:
        """Returns a value, or `default` when it is absent or null.

        Args:
            name: of the value.
            kind: its type; a float may be given as an int.
            default: without one the value is required.

        Raises:
            Exception: of the class given: another type, or a required value is missing.
        """
        value = self._left.pop(name, None)
        if value is None:
            if default is _MISSING:
                raise self._error(f"{self._owner} needs {name!r}: {_WORDS[kind]}")
            return default
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            try:
                value = float(value)
            except OverflowError:
                raise self._error(f"{name!r} of {self._owner} is too large") from None
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self._error(f"{name!r} of {self._owner} must be {_WORDS[kind]}, not {_shown(value)}")
        if isinstance(value, str) and not _encodable(value):
            raise self._error(f"{name!r} of {self._owner} contains NUL or half of a surrogate pair: {_shown(value)}")
        return value

    def auto_or(self, name: str, kind: type) -> Any:
        """Returns a value that is a number or "auto", which it is when absent.

        Args:
            name: of the value.
            kind: of the number.

        Raises:
            Exception: of the class given: neither.
        """
        if self._left.get(name) == "auto":
            del self._left[name]
        return self.take(name, kind, "auto")

    def path(self, name: str) -> Path:
        """Returns a required path.

        Args:
            name: of the value.

        Raises:
            Exception: of the class given: missing, empty or not a path.
        """
        text = self.take(name, str)
        if not text:
            raise self._error(f"{name!r} of {self._owner} is not a path: {text!r}")
        return self._base / text

    def path_if_given(self, name: str) -> Path | None:
        """Returns a path, or None when it is absent or null."""
        return self.path(name) if self._left.get(name) is not None else None

    def finish(self) -> None:
        """Checks that all values were read.

        Raises:
            Exception: of the class given: one was not.
        """
        if self._left:
            raise self._error(f"{self._owner} takes no {', '.join(map(_shown, list(self._left)[:10]))}")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else text[:97] + "..."


def read_object(path: Path, largest: int) -> dict[str, Any]:
    """Reads a file that holds one JSON object in UTF-8; as `read_json`."""
    value = read_json(path, largest)
    if not isinstance(value, dict):
        raise SequenceError(f"'{path}' does not hold a JSON object")
    return value


def read_json(path: Path, largest: int) -> Any:
    """Reads a file of JSON in UTF-8.

    Args:
        path: the file.
        largest: its largest size in bytes.

    Returns:
        The value; its numbers are finite, and the names of an object differ.

    Raises:
        SequenceError: the file cannot be read, or holds something else.
    """
    try:
        return json.loads(
            read_regular(path, largest).decode("utf-8-sig"), parse_constant=_finite, parse_float=_finite,
            object_pairs_hook=_distinct,
        )  # fmt: skip
    except OSError as error:
        raise SequenceError(f"'{path}' cannot be read: {os_reason(error, path)}") from error
    except (ValueError, RecursionError) as error:
        raise SequenceError(f"'{path}' is not JSON in UTF-8: {error}") from error


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:60]} is no finite number")
    return number


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"it names {next(name for name in names if names.count(name) > 1)!r} twice")
    return values
