# SPDX-License-Identifier: Apache-2.0
"""The Triton kernels of the loop."""
