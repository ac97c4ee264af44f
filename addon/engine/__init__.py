# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker process and its Python: installation, start, and one task at a time."""
