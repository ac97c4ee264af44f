# SPDX-License-Identifier: Apache-2.0
"""How pixels move: integrate a motion field, splat forward, warp backward."""

from loopcore.transport.integrate import integrate
from loopcore.transport.splat import splat
from loopcore.transport.warp import warp

__all__ = ["integrate", "splat", "warp"]
