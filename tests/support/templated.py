"""A site whose owner has written templates and ceilings, for tests of those who call it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from support.agent import Agent, short_directory

TTL_SECONDS = 1.5
ADDRESS_SPACE_BYTES = 8 << 30

SITE = f"""
[policy]
allow = "templates"

[ceilings]
lease_ttl_seconds = {TTL_SECONDS}
address_space_bytes = {ADDRESS_SPACE_BYTES}

[templates.greet]
argv = [
    "/bin/sh",
    "-c",
    'echo "$1 $2 ${{{{WORD-none}}}} ${{{{TOKEN-none}}}}"; ulimit -n; exit "$2"',
    "greet",
    "{{name}}",
    "{{code}}",
]
description = "Greets, and exits with a code."
environment = ["WORD", "TOKEN"]

[templates.greet.parameters.name]
pattern = "[a-z]+"

[templates.greet.parameters.code]
minimum = 0
maximum = 9
default = "0"

[templates.serve]
argv = ["/bin/sh", "-c", "echo up; exec sleep 60"]
readiness = {{ log_line = "up" }}
stop = {{ grace_seconds = 0 }}

[templates.nap]
argv = ["/bin/sleep", "3"]
stop = {{ grace_seconds = 0 }}
"""


@contextmanager
def templated_agent() -> Iterator[Agent]:
    """An agent of this site."""
    with short_directory() as directory:
        config = directory / "site.toml"
        config.write_text(SITE)
        with Agent(directory, "--config", str(config)) as agent:
            yield agent
