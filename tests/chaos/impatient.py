"""`python -m tests.chaos.impatient`: the server, with short time limits."""

import sys
from functools import partial

from gephyra.service import __main__ as service
from gephyra.service.config import ServerConfig, Timings

HEARTBEAT, LEASE = 0.2, 3.0

if __name__ == "__main__":
    timings = Timings(heartbeat=HEARTBEAT, lease=LEASE, drain=5.0)
    service.ServerConfig = partial(ServerConfig, timings=timings)  # type: ignore[misc]
    sys.exit(service.main())
