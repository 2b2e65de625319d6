"""A process that deploys again and again: each time in a child that begins with everything imported, and can be killed.

Told on its standard input how long to go on, a line each: `go` runs a deployment in a child, whose process id it prints first; when it has ended it prints its
exit status, negative if a signal ended it. The folder and the variables are those it was started with.
"""

from __future__ import annotations

import os
import sys

from virke.cli.main import main


def deploy() -> None:
    """Run the command in this process, and end it."""
    held = os.read(0, 1)  # until the server knows whom to kill
    assert held == b"."
    quiet = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(quiet, stream)
    sys.argv = ["virke", "deploy", "--target", "fastly"]
    code = 0
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    os._exit(code)


def run() -> None:
    """Serve until the input ends."""
    while os.read(0, 1) == b"g":
        child = os.fork()
        if child == 0:
            deploy()
        os.write(1, f"{child}\n".encode())
        _, status = os.waitpid(child, 0)
        os.write(1, f"{os.waitstatus_to_exitcode(status)}\n".encode())


if __name__ == "__main__":
    run()
