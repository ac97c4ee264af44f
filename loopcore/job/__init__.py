# SPDX-License-Identifier: Apache-2.0
"""The description of a job: a plate, the source of its motion, and the settings of its loop; and its file form.

A job file is a JSON object of the settings of `Source` and `Job` by their names; only `plate` and `folder` are
required. `numbers` is named `range` there and written as text. Relative paths start at the file's folder.
"""

from loopcore.job.file import Origin, read_job, write_job
from loopcore.job.job import Job
from loopcore.job.source import Source

__all__ = ["Job", "Origin", "Source", "read_job", "write_job"]
