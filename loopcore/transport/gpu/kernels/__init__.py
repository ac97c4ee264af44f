# SPDX-License-Identifier: Apache-2.0
"""The Triton kernels themselves, one operation a file; their launchers are in the package above."""
