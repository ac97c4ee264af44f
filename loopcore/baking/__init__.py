# SPDX-License-Identifier: Apache-2.0
"""Frames to files: what decides the pixels, which frames are missing, how they are written."""
