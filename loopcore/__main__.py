# SPDX-License-Identifier: Apache-2.0
"""`python -m loopcore` is `loopcore`."""

import sys

from loopcore.cli.main import main

sys.exit(main())
