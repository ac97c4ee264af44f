# SPDX-License-Identifier: GPL-3.0-or-later
"""The picture of an image plane: found through its material, mapped to its mesh, kept as a still."""
