"""Where an answer goes: standard output, or a file that is whole or not there."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from llamalog_sql.errors import LlamaLogError, Misuse


@contextmanager
def writing(path: Path | None) -> Iterator[IO[str]]:
    """Yield a stream for text; the file takes its name, or that of an older one, when all is written.

    path: None and - are standard output.  A link is followed; a file that was there keeps its mode, and whoever reads it
    meanwhile has the old one or the new one. What is no file, as /dev/stdout or a pipe, is written to.

    Raises Misuse where the directory is missing or the path names one, LlamaLogError where it cannot be written.
    """
    if path is None or str(path) == "-":
        yield sys.stdout
        return
    try:
        if path.is_dir():
            raise Misuse(f"{path} is a directory", hint=f"Name a file: -o {path}/FILE")
        if not path.parent.is_dir():
            raise Misuse(
                f"there is no directory {path.parent}",
                hint="Make it first, or name another file: -o FILE",
            )
        # where a link of /proc leads to a pipe, its target has no name
        if path.exists() and not path.is_file():
            with path.open("w", encoding="utf-8", newline="") as stream:
                yield stream
        else:
            with _replacing(Path(os.path.realpath(path))) as stream:
                yield stream
    except BrokenPipeError:
        raise
    except OSError as error:
        raise LlamaLogError(
            f"cannot write {path}: {os.strerror(error.errno or 0)}",
            sqlstate="58030",
            hint="Name a file where you may write, or - for stdout.",
        ) from None


@contextmanager
def _replacing(target: Path) -> Iterator[IO[str]]:
    new = target.with_name(f".{target.name[:50]}.{secrets.token_hex(4)}")
    try:
        with new.open("x", encoding="utf-8", newline="") as stream:
            if target.exists():
                os.fchmod(stream.fileno(), target.stat().st_mode & 0o777)
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        new.replace(target)
    finally:
        new.unlink(missing_ok=True)
