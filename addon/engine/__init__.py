# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker process and its Python: setting it up, starting it, and running one task at a time in it."""
