# SPDX-License-Identifier: Apache-2.0
"""Runs the command line as `python -m loopcore`."""

import sys

from loopcore.cli.main import main

sys.exit(main())
