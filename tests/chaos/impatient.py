"""`python -m tests.chaos.impatient LEASE ...`: the server with short time limits; LEASE is that of a silent worker."""

import sys

from gephyra.service.__main__ import main
from gephyra.service.config import Timings

HEARTBEAT, LEASE = 0.2, 4.0

if __name__ == "__main__":
    sys.exit(main(sys.argv[2:], Timings(heartbeat=HEARTBEAT, lease=float(sys.argv[1]), drain=5.0)))
