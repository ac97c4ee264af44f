# SPDX-License-Identifier: Apache-2.0
"""Plates: stills of any format as scene-linear float pixels."""

from loopcore.plate.plate import Plate, read_plate

__all__ = ["Plate", "read_plate"]
