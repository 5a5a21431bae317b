"""Settings for a site to begin with, beside its certificate."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from farspawn._pki import AUTHORITY
from farspawn._pki_error import PkiError

_SETTINGS = """\
# Settings of a site to begin with: farspawnd --config {path}
# deploy/site.toml of farspawn explains these and all others.
listen = "0.0.0.0:7443"

[tls]
certificate = {certificate}
key = {key}
authorities = {authorities}
{grants}
# The only thing that callers can start yet. Write your own commands beside it, or allow more: see [policy].
[templates.hello]
description = "Says hello."
argv = ["/bin/echo", "hello,", "{{who}}"]

[templates.hello.parameters.who]
pattern = "[A-Za-z ]{{1,64}}"
default = "world"
"""


def write_settings(directory: Path, name: str, *, operators: Sequence[str]) -> Path:
    """Write DIRECTORY/NAME.toml for a site whose certificate is there, unless it has one; return its path.

    Args:
        directory: where the certificates are.
        name: of the site's.
        operators: identities of callers that may launch tasks.

    Raises:
        PkiError: it cannot be written.
    """
    path = directory / f"{name}.toml"
    files = {"certificate": f"{name}.pem", "key": f"{name}.key", "authorities": f"{AUTHORITY}.pem"}
    grants = "".join(f'\n[[grants]]\nidentity = {json.dumps(each)}\nrole = "operator"\n' for each in operators)
    # A TOML string takes the same escapes as JSON.
    words = {key: json.dumps(str((directory / file).resolve())) for key, file in files.items()}
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(_SETTINGS.format(path=path, grants=grants, **words))
    except FileExistsError:
        pass  # the owner's by now
    except OSError as error:
        raise PkiError(f"{path}: {error.strerror}") from error
    return path
