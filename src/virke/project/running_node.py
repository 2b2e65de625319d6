"""The node next to an app: `virke serve` on a free port of this machine, and what it says.

Knows its command, its first line and its log; knows no app.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from virke.config import NODE_VARIABLE
from virke.errors import Unavailable
from virke.project.children import Children, ending_words
from virke.project.receipts import readable_line

_READY: Final = " serves http"


class RunningNode:
    """A node that is ready: its `url`."""

    def __init__(
        self, store: str, database: str, folder: Path, *, children: Children, say: Callable[[str], None]
    ) -> None:
        """Start it and wait until it serves.

        Raises:
            Unavailable: it did not start; the message has what it said.
        """
        words = ["--port", "0", "--host", "127.0.0.1", "--store", store, "--db", database]
        command = [sys.executable, "-P", "-m", "virke", "serve", *words, "--slow-ms", "0", "--log-format", "json"]
        environ = {name: value for name, value in os.environ.items() if name != NODE_VARIABLE}
        self.child = children.start(command, folder, environ, heard=True)
        self._database = database
        self._say = say
        try:
            line = self.child.said.readline()
            if _READY not in line:
                said = (line + self.child.said.read()).strip().removeprefix("error: ")
                raise Unavailable(f"the node next to the app {ending_words(self.child.wait())}: {said}")
        except BaseException:
            self.child.stop()
            raise
        self.url = line.split()[-1]
        self._listening = threading.Thread(target=self._pass_log_on, daemon=True)
        self._listening.start()

    def _pass_log_on(self) -> None:
        for line in self.child.said:
            if (text := readable_line(line, self._database)) is not None:
                self._say(text)

    def stop(self) -> None:
        """End it, and hear what it says last."""
        self.child.stop()
        self._listening.join()
        self.child.said.close()
