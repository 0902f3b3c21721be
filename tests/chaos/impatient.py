"""`python -m tests.chaos.impatient`: the server, with short time limits."""

import sys

from gephyra.service.__main__ import main
from gephyra.service.config import Timings

HEARTBEAT, LEASE = 0.2, 3.0

if __name__ == "__main__":
    sys.exit(main(timings=Timings(heartbeat=HEARTBEAT, lease=LEASE, drain=5.0)))
