"""The commands together, and what becomes of their errors."""

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

import click

from farspawn._cli import failures
from farspawn._cli.act import rm, signal, stop
from farspawn._cli.launch import launch
from farspawn._cli.logs import logs
from farspawn._cli.look import poll, ps, wait
from farspawn._cli.options import Settings, site_option, tls_options
from farspawn._cli.pki import pki
from farspawn._cli.run import run
from farspawn._cli.site import site
from farspawn._cli.templates import templates
from farspawn._cli.watch import watch
from farspawn._cli.words import NOT_THE_TASK
from farspawn._errors import FarspawnError
from farspawn._pki_error import PkiError


class _App(click.Group):
    """A group that ends quietly when nobody reads what it writes."""

    def invoke(self, ctx: click.Context) -> object:
        """Runs the command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # Before click sees it, which would call it exit code 1.
            raise click.exceptions.Exit(_reader_is_gone()) from None


@click.group(cls=_App, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("farspawn"), message="%(prog)s %(version)s")
@site_option
@tls_options
def app() -> None:
    """Launch, watch and stop processes on a site.

    A site is a machine where the agent `farspawnd` runs; by default, the agent
    that you started on this one. A task is one process there and everything it
    starts. It runs on when this command ends.

    Spans of time are written 10s, 1m30s, 2h or 500ms; a plain number is seconds.
    """


for command in (run, launch, ps, poll, wait, logs, stop, signal, watch, rm, site, templates, pki):
    app.add_command(command)


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code.

    Args:
        args: What follows the program's name. None: what this process was given.
    """
    settings = Settings()
    try:
        code = app.main(args, prog_name="farspawn", standalone_mode=False, obj=settings)
        sys.stdout.flush()
    except BrokenPipeError:
        return _reader_is_gone()
    except click.ClickException as error:
        failures.tell_misuse(error, settings)
        return _misuse_code(error)
    except click.Abort:
        return 130  # as a shell has it for SIGINT
    except (FarspawnError, PkiError) as error:
        failures.tell(error, settings)
        return settings.failure_code
    except ValueError as error:
        # What the library says of arguments that click could not judge.
        failures.tell(error, settings)
        return 2
    return code if isinstance(code, int) else 0


def _misuse_code(error: click.ClickException) -> int:
    # 2 might be the task's own.
    of_run = isinstance(error, click.UsageError) and error.ctx is not None and error.ctx.command is run
    return NOT_THE_TASK if of_run else error.exit_code


def _reader_is_gone() -> int:
    # `| head` has what it wanted. Python flushes stdout once more at exit, and
    # would complain.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + 13
