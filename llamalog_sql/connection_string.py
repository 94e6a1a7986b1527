"""Where the database is: --dsn, then LLAMALOG_DSN, then DATABASE_URL, then the PG* variables and services of libpq."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

#: Query parameters of a DATABASE_URL that other clients (Prisma, SQLAlchemy) read and libpq refuses.
_FOREIGN_PARAMETERS = frozenset(
    {
        "schema",
        "connection_limit",
        "pool_timeout",
        "socket_timeout",
        "statement_cache_size",
        "pgbouncer",
        "sslaccept",
        "sslidentity",
    }
)


def connection_string(dsn: str | None, environ: Mapping[str, str] = os.environ) -> str:
    """Return the libpq connection string to use; empty when only PG* variables and services speak."""
    return _for_libpq(dsn or environ.get("LLAMALOG_DSN") or environ.get("DATABASE_URL") or "")


def without_password(text: str) -> str:
    """Return the text with the passwords of connection strings in it masked."""
    text = re.sub(r"(://[^:/@\s]*:)[^@\s]+@", r"\1***@", text)
    return re.sub(r"(password\s*=\s*)('(?:[^'\\]|\\.)*'|\S+)", r"\1***", text, flags=re.IGNORECASE)


def _for_libpq(dsn: str) -> str:
    scheme, separator, rest = dsn.partition("://")
    if not separator or not scheme.startswith("postgres"):
        return dsn
    url = urlsplit("postgresql://" + rest)
    kept = [
        (name, value)
        for name, value in parse_qsl(url.query, keep_blank_values=True)
        if name not in _FOREIGN_PARAMETERS
    ]
    text = urlunsplit(url._replace(query=urlencode(kept)))
    # without a host, urlunsplit leaves out two slashes of three
    return text if url.netloc else text.replace("postgresql:/", "postgresql:///", 1)
