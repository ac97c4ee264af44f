# SPDX-License-Identifier: Apache-2.0
"""`python -m loopcore` is `loopcore`."""

import sys

from .cli import main

sys.exit(main())
