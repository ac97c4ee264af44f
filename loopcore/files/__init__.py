# SPDX-License-Identifier: Apache-2.0
"""Names of numbered files, frame ranges, and atomic writes."""
