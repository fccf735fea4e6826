"""A lock of a directory, so that two processes never write the same results.

The file `.lock` names host, process and the time that it began. A lock of this host is stale if the
process has ended. Another host's cannot be asked, so its lock shows that it lives: the holder
touches the file at even intervals, and a lock that stays untouched for several of them is stale.
"""

import contextlib
import json
import os
import platform
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from noisy_student.artifacts.files import is_running, named, remove_leftovers

LOCK = ".lock"
_TOUCH_SECONDS = 10.0
_STALE_SECONDS = 45.0  # without a touch
_held: set[Path] = set()


@contextlib.contextmanager
def lock(directory: str | os.PathLike[str], wanted: bool = True) -> Iterator[None]:
    """Holds the lock of a directory; at once if this process holds it already.

    Also removes what killed processes left unfinished there.

    Args:
        directory: created if missing.
        wanted: False: does nothing (hosts of a distributed run that are not the chief).

    Raises:
        ValueError: another process holds it; the message names host, process and file.
    """
    path = Path(directory).resolve() / LOCK
    if not wanted or path in _held:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    while not _create(path):
        _remove_stale(path, Path(directory))
    remove_leftovers(directory)
    _held.add(path)
    ended = threading.Event()
    threading.Thread(target=_touch, args=(path, ended), daemon=True).start()
    try:
        yield
    finally:
        ended.set()
        _held.discard(path)
        path.unlink(missing_ok=True)


def _create(path: Path) -> bool:
    """Creates the lock whole; returns False if there is one."""
    content = {**_this_process(), "since": time.strftime("%Y-%m-%d %H:%M:%S %Z")}
    own = path.with_name(f"{LOCK}.tmp-{content['host']}-{content['process']}")
    try:
        with named(path):
            own.write_text(json.dumps(content))
            os.link(own, path)  # fails if there is one, also over a network
    except FileExistsError:
        return False
    finally:
        own.unlink(missing_ok=True)
    return True


def _remove_stale(path: Path, directory: Path) -> None:
    """Removes a lock whose holder has ended, or raises ValueError."""
    try:
        text, before = path.read_text(), path.stat().st_mtime_ns
        holder = json.loads(text)
        host, process, since = holder["host"], int(holder["process"]), holder["since"]
    except FileNotFoundError:  # just released
        return
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path} is damaged: delete it if no process uses {directory}.") from None
    this = _this_process()
    if all(holder.get(key) == this[key] for key in ("host", "space")):
        lives = _began(process) == holder.get("began")
    else:
        print(f"{directory} is locked by process {process} on {host}: is it running?", flush=True)
        lives = _is_touched(path, before)
    if lives:
        raise ValueError(
            f"{directory} is in use by process {process} on {host} since {since}. Wait until it "
            f"ends, or choose another directory. (Lock file: {path})"
        )
    mine = path.with_name(f"{LOCK}.stale-{this['host']}-{this['process']}")
    with contextlib.suppress(FileNotFoundError):
        os.rename(path, mine)  # only one process gets it
        if mine.read_text() != text:  # of a process that was faster
            with contextlib.suppress(FileExistsError):
                os.link(mine, path)
        mine.unlink()


def _is_touched(path: Path, before: int) -> bool:
    """Waits until the lock is touched or removed; returns False if it is not for long."""
    end = time.monotonic() + _STALE_SECONDS
    while time.monotonic() < end:
        try:
            if path.stat().st_mtime_ns != before:
                return True
        except FileNotFoundError:
            return False
        time.sleep(0.2)
    return False


def _touch(path: Path, ended: threading.Event) -> None:
    while not ended.wait(_TOUCH_SECONDS):
        with contextlib.suppress(OSError):
            os.utime(path)


def _this_process() -> dict[str, Any]:
    """Returns the identity of this process; "space" is that of its process ids (container)."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:  # not Linux
        space = ""
    process = os.getpid()
    identity = {"host": platform.node(), "space": space, "process": process}
    return {**identity, "began": _began(process)}


def _began(process: int) -> str | None:
    """Returns when a process of this host began, in the kernel's ticks; None: there is none."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
    return "unknown" if is_running(process) else None  # not Linux: the id alone
