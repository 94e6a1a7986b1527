"""Commands that say what needs a person."""

from __future__ import annotations

import click

from llamalog_sql import attention as questions
from llamalog_sql import output, queries
from llamalog_sql.cli.group import FAILED, main
from llamalog_sql.cli.shared import COUNT, dsn_option, format_option, say, say_unread, session


@main.command()
@click.argument("entity_type", metavar="[TYPE]", required=False)
@click.option("--rule", type=click.Choice(questions.RULES), help="Only by this kind of rule.")
@click.option(
    "--limit",
    default=10,
    show_default=True,
    type=COUNT,
    help="Most of each rule, the first by key.",
)
@click.option("--rules", "show_rules", is_flag=True, help="Show the rules, not what they find.")
@click.option("--fail", is_flag=True, help="Exit 1 when there is anything.")
@format_option
@dsn_option
def attention(
    entity_type: str | None, rule: str | None, limit: int, show_rules: bool, fail: bool, form: str
) -> None:
    """Show what needs a person: albums without tracks, failed lately, of low quality, without ids, of unknown origin.

    Each with the change that made it so, its job, and what to type next. The rules come from the catalogue (parts that
    die with their whole, the quality column, unique columns that may be null); rows of llamalog.attention_rules take
    their place. Exit 0, whatever is found, unless --fail.

    \b
    Example:
      llamalog attention ALBUM
      llamalog attention --rule failed --format jsonl
    """
    with session() as conn:
        if show_rules:
            rules = questions.rules(conn, entity_type)
        else:
            # one more tells whether there is more
            asked = questions.attention(conn, entity_type, rule=rule, limit=limit + 1)
            unread = [] if entity_type else questions.unreadable_types(conn)
    if show_rules:
        if form != "table":
            output.write_rows(rules, form, questions.Rule)
        else:
            header = ["type", "rule", "looks at", "bad values", "period", "from"]
            output.console().print(output.grid(header, [known.cells() for known in rules]))
        for known in rules:
            if known.misfit is not None:
                say(output.clean(f"attention rule {known.id} {known.misfit}"))
        return
    found, cut = questions.page(asked, limit)
    if form != "table":
        output.write_rows(found, form, questions.Finding)
    else:
        console = output.console()
        for line in questions.findings_lines(found):
            console.print(line)
    if cut:
        say(f"there are more than {limit} of {', '.join(cut)}: --limit")
    say_unread(unread)
    if not found and not unread:
        say("nothing needs attention")
    if found and fail:
        click.get_current_context().exit(FAILED)


@main.command()
@click.argument("entity_type", metavar="[TYPE]", required=False)
@click.argument("entity", metavar='[ID|"TITLE"]', required=False)
@click.option(
    "--days",
    default=7,
    show_default=True,
    type=click.IntRange(1, 36500),
    help="How far to look back.",
)
@click.option("--unresolved", is_flag=True, help="Only what no later success has made good.")
@click.option("--limit", default=50, show_default=True, type=COUNT, help="Most failures to show.")
@format_option
@dsn_option
def failures(
    entity_type: str | None, entity: str | None, days: int, unresolved: bool, limit: int, form: str
) -> None:
    """Show what failed lately, newest first: the error, the job and its root, and whether it was made good since.

    A failure is made good by a later success of the same source about the same entity, or by its removal.

    \b
    Example:
      llamalog failures --unresolved
      llamalog failures ALBUM "OK Computer" --days 90
    """
    with session() as conn:
        entity_id = None
        if entity_type is not None and entity is not None:
            # an empty one is refused: a variable that is not set must not widen the question
            entity_id = queries.resolve(conn, entity_type, entity)
        asked = questions.failures(
            conn,
            entity_type,
            entity_id,
            days=days,
            unresolved_only=unresolved,
            limit=limit + 1,
        )
    found = asked[:limit]
    if form != "table":
        output.write_rows(found, form, questions.Failure)
    else:
        console = output.console()
        for line in questions.failures_lines(found):
            console.print(line)
    if len(asked) > limit:
        say(f"only the newest {limit}; for more, --limit")
    if not found:
        say(
            f"nothing failed in {output.plural(days, 'day')}"
            if not unresolved
            else "nothing is unresolved"
        )
