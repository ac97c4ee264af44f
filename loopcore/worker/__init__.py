# SPDX-License-Identifier: Apache-2.0
"""The worker: JSON-RPC on stdin and stdout, for other programs such as Blender."""
