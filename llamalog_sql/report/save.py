"""Writes a page where the user wants it."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from llamalog_sql.errors import LlamaLogError, Misuse


def save(text: str, path: Path) -> int:
    """Write a page to a file, and return its size in bytes.

    A file that was there is replaced whole, by a rename, and keeps its mode: whoever reads it meanwhile has the old one or
    the new one. What is no file, as /dev/stdout, is written to.

    Raises Misuse where the directory is missing or the path names one, LlamaLogError where it cannot be written.
    """
    content = text.encode()
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise Misuse(f"{path} is a directory", sqlstate=None, hint="Name a file: -o report.html")
    if not target.parent.is_dir():
        raise Misuse(
            f"there is no directory {path.parent}",
            sqlstate=None,
            hint="Make it first, or name another file: -o report.html",
        )
    try:
        if target.exists() and not target.is_file():
            target.write_bytes(content)
        else:
            _replace(target, content)
    except OSError as error:
        raise LlamaLogError(
            f"cannot write {path}: {os.strerror(error.errno or 0)}",
            hint="Name a file where you may write, or - for stdout.",
        ) from None
    return len(content)


def _replace(target: Path, content: bytes) -> None:
    new = target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}")
    try:
        with open(new, "xb") as file:
            if target.exists():
                os.fchmod(file.fileno(), target.stat().st_mode & 0o777)
            file.write(content)
        new.replace(target)
    except OSError:
        new.unlink(missing_ok=True)
        raise
