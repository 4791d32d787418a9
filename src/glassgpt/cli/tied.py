"""`python -m glassgpt.cli.tied PIPE WORDS...`: a command that stops, with everything saved, when its parent is gone.

A sweep trains its runs side by side in separate processes. Each reads a pipe that only the parent could write to:
it ends when the parent closes it or dies, even by a kill. Then the command gets SIGTERM, as if a person had stopped it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from glassgpt.cli.main import main


def stop_at_end_of(pipe: int) -> None:
    """Send SIGTERM to this process when the other end of a pipe is closed."""

    def wait() -> None:
        while os.read(pipe, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    stop_at_end_of(int(sys.argv.pop(1)))
    main()
