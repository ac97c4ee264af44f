# SPDX-License-Identifier: Apache-2.0
"""How pixels move: integrate a motion field, splat forward, warp backward."""

from .integrate import integrate
from .splat import splat
from .warp import warp

__all__ = ["integrate", "splat", "warp"]
