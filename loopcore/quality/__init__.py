# SPDX-License-Identifier: Apache-2.0
"""Loop QC: reads a baked loop back and compares it with limits."""

from loopcore.quality.measure import check
from loopcore.quality.report import QualityReport, Row

__all__ = ["QualityReport", "Row", "check"]
