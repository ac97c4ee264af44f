# SPDX-License-Identifier: Apache-2.0
"""The Triton kernels, one operation a file; their launchers are in the package above."""
