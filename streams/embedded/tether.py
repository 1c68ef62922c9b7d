"""Run a command that ends with the process that started it: ``tether.py PARENT_PID LOCK_FD NOTE COMMAND...``.

Run by path, so it imports only what it needs (15 ms). With ``PARENT_PID`` 0 the command outlives its parent.
On Linux the kernel kills the command (PR_SET_PDEATHSIG survives exec), which replaces this program. Elsewhere this
program stays as the command's parent and checks four times a second that its own parent lives.
"""

import json
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h
PARENT_GONE = 113
LINUX = os.uname().sysname == "Linux"


def main(arguments: list[str]) -> int:
    """Exit code of the command; on Linux ``execvp`` does not return."""
    parent, lock_fd, note, command = int(arguments[0]), int(arguments[1]), json.loads(arguments[2]), arguments[3:]
    if parent and LINUX:
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # The parent may have ended before the line above, and the kernel then sends no signal.
    if parent and os.getppid() != parent:
        return PARENT_GONE
    # The holder of the lock writes the record: while the lock is held, pid and note are valid.
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
