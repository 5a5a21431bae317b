"""`farspawn signal`: sends a signal to a task."""

import click

from farspawn._cli.as_json import print_document
from farspawn._cli.options import Settings, common_options, pass_settings
from farspawn._cli.signals import signal_number
from farspawn._values import SignalScope


@click.command()
@click.option("--tree", is_flag=True, help="To everything the task has started, not only its first process.")
@click.argument("task_id", metavar="ID")
@click.argument("number", metavar="NAME|NUMBER", type=signal_number)
@common_options
@pass_settings
def signal(settings: Settings, *, tree: bool, task_id: str, number: int) -> None:
    """Send a signal to a task, for instance USR1 or 10.

    To end a task use `farspawn stop`, which sees to it that it ends.
    """
    scope = SignalScope.TREE if tree else SignalScope.LEADER
    with settings.client() as site:
        signalled = site.signal(task_id, number, scope)
    if settings.as_json:
        print_document({"task_id": task_id, "signalled": signalled})
