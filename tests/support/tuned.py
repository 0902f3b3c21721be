"""`python -m tests.support.tuned JSON ...`: the server with other time limits, other limits, or under another clock.

JSON has `timings` and `limits`, fields by name, and `clock`, the path of a file with a number: so many seconds the
system's clock is ahead of the truth.
"""

import json
import sys
import time
from pathlib import Path

from gephyra.service.__main__ import main
from gephyra.service.clock import Clock
from gephyra.service.config import Limits, Timings


def _clock(file: Path) -> Clock:
    return Clock(lambda: time.time_ns() + int(float(file.read_text()) * 1e9))


if __name__ == "__main__":
    tuned = json.loads(sys.argv[1])
    clock = _clock(Path(tuned["clock"])) if "clock" in tuned else None
    sys.exit(main(sys.argv[2:], Timings(**tuned.get("timings", {})), Limits(**tuned.get("limits", {})), clock))
