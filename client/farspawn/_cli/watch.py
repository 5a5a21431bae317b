"""`farspawn watch`: tells what changes, as it does."""

from collections.abc import Mapping
from datetime import datetime

import click

from farspawn._cli.as_json import Json, print_record, to_json
from farspawn._cli.harmless import harmless
from farspawn._cli.options import Settings, common_options, label_option, pass_settings
from farspawn._cli.words import words_for
from farspawn._values import Checkpoint, TaskChanged, TaskDeleted, WatchEvent, WatchResumed


@click.command()
@click.option("--since", type=click.IntRange(min=0), default=0, metavar="REVISION", help="Tell only newer changes.")
@label_option
@common_options
@pass_settings
def watch(settings: Settings, *, since: int, labels: Mapping[str, str]) -> None:
    """Tell how tasks are, then what changes, until you interrupt it.

    In JSON each line has an "event": changed, deleted, checkpoint or resumed.
    After "resumed" compare with `farspawn ps -a`: deletions may have been missed.
    """
    id_of: dict[str, str] = {}
    with settings.client() as site:
        for event in site.watch(labels=labels, since_revision=since):
            if isinstance(event, TaskChanged):
                id_of[event.status.uid] = event.status.task_id
            if settings.as_json:
                print_record(_record(event))
            elif line := _line(event, id_of):
                now = datetime.now().astimezone()
                click.echo(f"{now:%H:%M:%S}  {harmless(line)}")
            if isinstance(event, TaskDeleted):
                id_of.pop(event.uid, None)


def _record(event: WatchEvent) -> Mapping[str, Json]:
    match event:
        case TaskChanged():
            return {"event": "changed", "status": to_json(event.status)}
        case TaskDeleted():
            return {"event": "deleted", "uid": event.uid}
        case Checkpoint():
            return {"event": "checkpoint", "revision": event.revision}
        case WatchResumed():
            return {"event": "resumed", "revision": event.revision}


def _line(event: WatchEvent, id_of: Mapping[str, str]) -> str:
    match event:
        case TaskChanged():
            return f"{event.status.task_id}  {words_for(event.status)}"
        case TaskDeleted():
            return f"{id_of.get(event.uid, event.uid)}  deleted"
        case WatchResumed():
            return "the connection was lost and is back"
        case Checkpoint():
            return ""
