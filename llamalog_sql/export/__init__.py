"""What the log says, for other tools: its rows as they are, W3C PROV, OpenLineage."""
