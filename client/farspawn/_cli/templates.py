"""`farspawn templates`: tells the commands that the site's owner wrote."""

from collections.abc import Sequence

import click

from farspawn._cli.as_json import print_document
from farspawn._cli.as_text import print_table
from farspawn._cli.options import Settings, common_options, pass_settings
from farspawn._values import Parameter, Template

_SHORT = 12


@click.command()
@common_options
@pass_settings
def templates(settings: Settings) -> None:
    """List the commands that the site's owner wrote, for --template.

    Revisions are shortened; --json has them whole. A parameter is followed by
    what its value may be: a range, choices or /a pattern/; then its default.
    """
    with settings.client() as client:
        known = client.site().templates
    if settings.as_json:
        print_document(known)
    else:
        print_templates(known)


def print_templates(templates: Sequence[Template]) -> None:
    """A table of them."""
    rows = [
        (each.name, each.revision[:_SHORT], ", ".join(map(_words_for, each.parameters)) or "-", each.description)
        for each in templates
    ]
    print_table(("TEMPLATE", "REVISION", "PARAMETERS", "DESCRIPTION"), rows)


def _words_for(parameter: Parameter) -> str:
    default = f" (default: {parameter.default_value})" if parameter.default_value is not None else ""
    return f"{parameter.name}={_values_of(parameter)}{default}"


def _values_of(parameter: Parameter) -> str:
    if parameter.integers is not None:
        return f"{parameter.integers.minimum}..{parameter.integers.maximum}"
    return "|".join(parameter.choices) or f"/{parameter.pattern}/"
