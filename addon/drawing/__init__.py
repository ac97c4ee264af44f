# SPDX-License-Identifier: GPL-3.0-or-later
"""What is drawn on a plane: strokes, anchors and the mask by the user, motion by the viewport overlay."""
