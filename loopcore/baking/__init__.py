# SPDX-License-Identifier: Apache-2.0
"""Baking: the recipe, which frames are up to date, and writing them."""
