"""Run a command that dies with the process that asked for it: ``tether.py PARENT_PID LOCK_FD NOTE COMMAND...``.

Run by path, so it imports only what it needs (15 ms). ``PARENT_PID`` 0 means: outlive everyone.
On Linux the kernel does the killing (PR_SET_PDEATHSIG survives exec) and this file is gone once the command runs.
Elsewhere it stays as the command's parent and looks at its own parent four times a second.
"""

import json
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h
PARENT_GONE = 113
LINUX = os.uname().sysname == "Linux"


def main(arguments: list[str]) -> int:
    """Exit code of the command, where this process outlives it; on Linux ``execvp`` does not return."""
    parent, lock_fd, note, command = int(arguments[0]), int(arguments[1]), json.loads(arguments[2]), arguments[3:]
    if parent and LINUX:
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # The parent may have died before the line above: the kernel then has nothing left to report.
    if parent and os.getppid() != parent:
        return PARENT_GONE
    # The holder of the lock writes the record itself: whoever finds the lock held can trust pid and note.
    os.pwrite(lock_fd, json.dumps({"pid": os.getpid(), "note": note}).encode(), 0)
    if LINUX or not parent:
        os.execvp(command[0], command)
    return _watch(parent, command)


def _watch(parent: int, command: list[str]) -> int:
    import subprocess

    child = subprocess.Popen(command, close_fds=False)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    while True:
        try:
            return child.wait(timeout=0.25)
        except subprocess.TimeoutExpired:
            if os.getppid() != parent:
                child.kill()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
