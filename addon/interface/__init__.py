# SPDX-License-Identifier: GPL-3.0-or-later
"""Panels, operators, preferences, properties and commands, and the tasks that they run."""
