"""`farspawn rm`: forgets ended tasks."""

import click

from farspawn._cli.as_json import print_document
from farspawn._cli.harmless import harmless
from farspawn._cli.options import Settings, common_options, pass_settings
from farspawn._cli.statuses import for_each, task_ids_argument


@click.command()
@task_ids_argument
@common_options
@pass_settings
def rm(settings: Settings, *, task_ids: tuple[str, ...]) -> int:
    """Forget ended tasks and remove their logs."""
    removed: list[str] = []
    with settings.client() as site:

        def remove(task_id: str) -> None:
            site.delete(task_id)
            removed.append(task_id)

        code = for_each(task_ids, remove, settings)
    if settings.as_json:
        print_document({"removed": removed})
    else:
        for task_id in removed:
            click.echo(harmless(task_id))
    return code
