# SPDX-License-Identifier: Apache-2.0
"""The loop: a plate transported along its motion and blended so that frame N is frame 0."""

from loopcore.loop.loop import Loop, load_kernels

__all__ = ["Loop", "load_kernels"]
