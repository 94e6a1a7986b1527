"""What `llamalog` starts with: the import of the commands takes a moment, in which Ctrl-C is no fault either."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command; interrupted before it could begin, end with 130 and without a word."""
    try:
        from llamalog_sql.cli import main as command
    except KeyboardInterrupt:
        sys.exit(130)
    command()


if __name__ == "__main__":
    main()
