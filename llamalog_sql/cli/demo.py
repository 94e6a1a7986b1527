"""The command that shows it all."""

from __future__ import annotations

import click

from llamalog_sql.cli.group import main


@main.command()
@click.option("--keep", is_flag=True, help="Leave the database running, to try the commands on.")
@click.option("--stop", is_flag=True, help="Stop and remove a database that --keep left.")
@click.option("--pg", type=click.Choice(["16", "18"]), help="Major version of the embedded server.")
def demo(keep: bool, stop: bool, pg: str | None) -> None:
    """Show it all on a server of its own: a music application writes, and the story of an album is told.

    \b
    Example:
      llamalog demo --keep
    """
    from llamalog_sql.demo import show

    if stop:
        show.stop()
        return
    show.run(keep=keep, version=int(pg) if pg else None)
