# SPDX-License-Identifier: Apache-2.0
"""Jobs for farms and clusters, and many plates on one machine."""
