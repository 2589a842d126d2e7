"""Become another program that dies with its parent: `python -I -S launch.py PARENT SIGNAL IDENTITY PROGRAM …`.

A small program of its own rather than `preexec_fn`, which is unsafe in a process with threads. IDENTITY is one of

* `same`: nothing changes;
* `map:UID`: the caller's own uid appears as UID inside a new user namespace. PostgreSQL refuses uid 0 and
  uids without a name; the kernel still checks files against the caller's real uid, so a folder of mode 0700 works;
* `become:UID:GID`: give up root for good.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h
CLONE_NEWUSER = 0x10000000  # linux/sched.h


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _map_user(libc: ctypes.CDLL, inside: str) -> None:
    """Enter a user namespace in which the caller's uid and gid read as `inside`; OSError when refused."""
    uid, gid = os.geteuid(), os.getegid()
    _check(libc.unshare(CLONE_NEWUSER))
    # "deny" first: without it the kernel lets only a privileged process write its gid_map
    for name, text in (("setgroups", "deny"), ("uid_map", f"{inside} {uid} 1"), ("gid_map", f"{inside} {gid} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:  # noqa: PTH123 (pathlib costs start-up time)
            file.write(text)


def _become(uid: str, gid: str) -> None:
    os.setgroups([])
    os.setgid(int(gid))
    os.setuid(int(uid))


def main(arguments: list[str]) -> None:
    """Take on the identity, tie the process to its parent and execute the program; never returns."""
    parent, signal_number, identity, *command = arguments
    libc = ctypes.CDLL(None, use_errno=True)
    how, *values = identity.split(":")
    if how == "map":
        _map_user(libc, *values)
    elif how == "become":
        _become(*values)
    if sys.platform == "linux":
        # after the change of identity, which clears the setting
        _check(libc.prctl(PR_SET_PDEATHSIG, int(signal_number), 0, 0, 0))
    if os.getppid() != int(parent):  # it died before prctl took effect
        os._exit(1)
    os.execvp(command[0], command)  # noqa: S606 (the command is the supervisor's own)


if __name__ == "__main__":
    main(sys.argv[1:])
