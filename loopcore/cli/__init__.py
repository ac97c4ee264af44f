# SPDX-License-Identifier: Apache-2.0
"""The command line: `loopcore animate`, `predict`, `flow`, `check` and other commands."""

from loopcore.cli.main import main

__all__ = ["main"]
