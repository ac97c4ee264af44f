# SPDX-License-Identifier: GPL-3.0-or-later
"""Strokes, anchors and the mask that the user draws on a plane, and the overlay that shows its motion."""
