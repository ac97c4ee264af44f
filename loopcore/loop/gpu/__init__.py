# SPDX-License-Identifier: Apache-2.0
"""The loop on an NVIDIA GPU."""
