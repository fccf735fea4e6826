"""What a benchmark's process took of memory."""

import pathlib
import re


def peak_mib() -> float:
    """The peak of this program's memory; getrusage would count that of the one that started it."""
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) / 1024
