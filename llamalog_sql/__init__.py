"""Any PostgreSQL database explains itself: what changed, who did it, which job caused it."""

from llamalog_sql.context import context
from llamalog_sql.errors import LlamaLogError
from llamalog_sql.queries import chain, find, history, resolve, tree, why

__all__ = ["LlamaLogError", "chain", "context", "find", "history", "resolve", "tree", "why"]
__version__ = "0.1.0"
