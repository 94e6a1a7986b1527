"""The demonstration: a music application that writes, and what the log then tells."""
