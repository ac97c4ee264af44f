# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plane plays: a baked image sequence, proxy files in the viewport, or a live preview by nodes."""
