"""Where an export goes: standard output, or a file that is whole or not there."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from llamalog_sql.errors import LlamaLogError


@contextmanager
def writing(path: Path | None) -> Iterator[IO[str]]:
    """Yield a stream for text; the file takes its name, or that of an older one, when all is written.

    Raises LlamaLogError where it cannot be written.
    """
    if path is None or str(path) == "-":
        yield sys.stdout
        return
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        unfinished = Path(name)
        try:
            with open(handle, "w", encoding="utf-8", newline="") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            # as any file that is written, not for its owner alone
            mask = os.umask(0)
            os.umask(mask)
            unfinished.chmod(0o666 & ~mask)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise LlamaLogError(
            f"cannot write {path}: {error.strerror}", hint="Give a file in a directory of yours."
        ) from None
