"""The commands: parse, call, print, exit code. Heavy imports stand inside the commands."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Entry point of the ``bench`` script; turns errors into messages and exit codes."""
    _open_closed_streams()
    import bench.cli.commands  # noqa: F401 - registers the commands
    from bench.cli.app import app
    from bench.errors import BenchError

    try:
        app()
    except BenchError as error:
        print(f"bench: {error.message()}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        # A full disk, a lost one, no permission: nothing that a traceback would help with.
        place = f"{error.filename}: " if error.filename else ""
        print(f"bench: {place}{error.strerror or error}", file=sys.stderr)
        sys.exit(2)


def _open_closed_streams() -> None:
    """A shell can close a stream (``>&-``), which Python then has not: what goes there is lost."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
