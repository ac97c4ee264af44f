# SPDX-License-Identifier: GPL-3.0-or-later
"""The image of an image plane: found through its material, mapped to its mesh, written to a file as a still."""
