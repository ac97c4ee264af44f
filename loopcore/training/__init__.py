# SPDX-License-Identifier: Apache-2.0
"""Training and evaluation of the motion predictor; used only by the command line."""
