"""Ends what a companion has started when the run that it belongs to is gone: the companion itself cannot, if both are killed."""

from __future__ import annotations

import os
import sys


def stand(pipe: int) -> None:
    """Start a process that ends this one's group once nobody holds the other end of the pipe.

    It is nobody's child, so no test sees it among its own. To be called before there are threads.
    """
    if sys.platform == "win32":
        return
    group = os.getpgrp()
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        os.setsid()
        if not os.fork():
            _watch(pipe, group)
    finally:
        os._exit(0)


def _watch(pipe: int, group: int) -> None:
    if sys.platform != "win32":
        import select
        import signal

        os.chdir("/")  # a folder that it is in could not be unmounted
        os.dup2(pipe, 0)
        os.closerange(1, 4096)
        poll = select.poll()
        poll.register(0, 0)  # nothing but that it is hung up
        poll.poll()
        os.killpg(group, signal.SIGKILL)
