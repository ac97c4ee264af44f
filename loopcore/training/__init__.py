# SPDX-License-Identifier: Apache-2.0
"""How the shipped predictor is trained and measured. Only the command line uses this package."""
