"""Errors, told in one line that says what to do, or as JSON."""

from collections.abc import Callable, Iterable
from io import StringIO

import click

from farspawn._cli.as_json import Json, print_record, to_json
from farspawn._cli.harmless import harmless, harmless_lines
from farspawn._cli.options import Settings
from farspawn._errors import (
    CallTimeoutError,
    NotServedError,
    RefusedError,
    SiteFaultError,
    SiteUnavailableError,
    SiteUnreachableError,
    TaskNotFoundError,
    TemplateChangedError,
)

# What to do next, where the message does not say; a site's refusals mostly do.
_ADVICE: dict[type[Exception], str] = {
    SiteUnreachableError: "start an agent with `farspawnd`, or name another site with --site",
    CallTimeoutError: "the site may hang, or the network: try again",
    TaskNotFoundError: "`farspawn ps -a` lists the tasks",
    TemplateChangedError: "`farspawn templates --json` tells what it is now",
    NotServedError: "this site's agent is of another version: `farspawn site`",
    SiteFaultError: "the site's own log has more",
}


def tell(error: Exception, settings: Settings, about: str = "") -> None:
    """Says on standard error what went wrong.

    Args:
        error: What did.
        settings: In which form to tell it.
        about: Which task, when there are several.
    """
    if settings.as_json:
        print_record({"error": _fields(error, about)}, to_stderr=True)
        return
    advice = _ADVICE.get(type(error))
    text = f"{about}: {error}" if about and about not in str(error) else str(error)
    click.echo(f"farspawn: {harmless(text)}{f' - {advice}' if advice else ''}", err=True)


def tell_misuse(error: click.ClickException, settings: Settings) -> None:
    """Says on standard error what is wrong with the command line."""
    if settings.as_json:
        print_record({"error": {"type": "UsageError", "message": error.format_message()}}, to_stderr=True)
    else:
        told = StringIO()
        error.show(told)
        click.echo(harmless_lines(told.getvalue()), nl=False, err=True)


def warn(text: str) -> None:
    """Says on standard error what is not fatal."""
    click.echo(f"farspawn: {harmless(text)}", err=True)


def for_each(task_ids: Iterable[str], act: Callable[[str], None], settings: Settings) -> int:
    """Does it to each task, also after the site refused it for another; returns the exit code."""
    code = 0
    for task_id in dict.fromkeys(task_ids):
        try:
            act(task_id)
        except SiteUnavailableError:
            raise  # it would refuse the others just so
        except RefusedError as error:
            tell(error, settings, task_id)
            code = settings.failure_code
    return code


def _fields(error: Exception, about: str) -> Json:
    told: dict[str, Json] = {"type": type(error).__name__, "message": str(error)}
    if about:
        told["task_id"] = about
    if isinstance(error, RefusedError):
        told |= {
            "code": error.code,
            "reason": error.reason,
            "metadata": to_json(error.metadata),
            "violations": to_json(error.violations),
            "retry_after": to_json(error.retry_after),
        }
    return told
