"""What is wrong with settings that fit the schema."""

from __future__ import annotations

import os
import posixpath
import pwd
import re
import string
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

import re2

from farspawn_core import oom_score
from farspawn_server import strict
from farspawn_server.policy.enforceable import unenforceable
from farspawn_server.policy.templates import MAX_VALUE_BYTES, Parameter, matches
from farspawn_server.settings.schema import (
    CeilingSettings,
    ParameterSettings,
    PolicySettings,
    ProgramSettings,
    ReadinessSettings,
    Settings,
    StopSettings,
    TemplateSettings,
)
from farspawn_server.task import rules

_MOST = 1_000_000_000
_MOST_BYTES = 1 << 60
_LEAST_SECONDS = 0.001
_LEAST_OOM_SCORE_ADJ, _MOST_OOM_SCORE_ADJ = -1000, 1000
_LONGEST_SECONDS = int(rules.MAX_SPAN.total_seconds())

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_ENVIRONMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\*?|\*")
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")

_TCP_NEEDS = (
    "TCP needs mutual TLS: name certificate, key and authorities under [tls] in the configuration (`farspawn pki` "
    "makes them). Or listen on a Unix socket, or, for loopback only, set insecure = true (--insecure)"
)

_Problems = Iterator[tuple[str, str]]


def problems(settings: Settings) -> _Problems:
    """Yield the key of each mistake, and what it is and how to put it right."""
    yield from _state(settings.state)
    if settings.tls is not None and (problem := strict.problem(Path(settings.tls.key), secret=True)):
        yield "tls.key", problem
    for entry in settings.denied:
        yield from _denied(entry)
    for place, grant in enumerate(settings.grants):
        if isinstance(grant.sees, str) and grant.sees not in ("", "own", "all"):
            yield f"grants[{place}].sees", f'{grant.sees!r}: give "own", "all" or a list of identities'
    yield from _limits(settings)
    yield from _listen(settings)
    yield from _policy(settings.policy)
    yield from _ceilings("ceilings", settings.ceilings)
    for name, template in settings.templates.items():
        yield from _template(name, template)
    if settings.audit.max_file_bytes < 1 << 16 or settings.audit.max_files < 0:
        yield "audit", "max_file_bytes: at least 65536; max_files: not negative"
    if not 0 <= settings.drain.patience_seconds <= _LONGEST_SECONDS:
        yield "drain.patience_seconds", f"from 0 to {_LONGEST_SECONDS}"


def unenforceable_ceilings(settings: Settings, controllers: Collection[str]) -> _Problems:
    """Yield the key of each limit that cannot be enforced, and why. `controllers`: of the cgroups of tasks."""
    tables = {"ceilings": settings.ceilings}
    tables |= {f"templates.{name}.limits": template.limits for name, template in settings.templates.items()}
    for name, why in unenforceable(controllers, settings.policy.user).items():
        for table, ceilings in tables.items():
            if getattr(ceilings, name):
                yield f"{table}.{name}", f"this site cannot enforce it: {why}. Without this line there is no such limit"


def _state(state: str) -> _Problems:
    if not Path(state).is_absolute():
        yield "state", f"{state!r}: give an absolute path"
    elif not _is_text(state):
        yield "state", f"{state!r}: give a path in UTF-8, without NUL"
    elif problem := strict.problem_of_state(Path(state)):
        yield "state", problem


def _is_text(path: str) -> bool:
    try:
        return b"\0" not in path.encode()
    except UnicodeEncodeError:
        return False


def _denied(entry: str) -> _Problems:
    if entry.endswith("*"):
        yield "denied", f"{entry!r}: name whole identities here; take the grant away to shut out many"
    if re.fullmatch(r"(SHA256 Fingerprint=)?[0-9A-Fa-f:\s]{64,}", entry) and not _SHA256.fullmatch(entry):
        yield "denied", f"{entry!r}: a fingerprint has 64 digits of 0-9 a-f, without colons (`farspawn pki show`)"


def _limits(settings: Settings) -> _Problems:
    may_be_zero = ("max_live_tasks_per_owner", "max_launches_per_second")
    for name in settings.limits.__struct_fields__:
        given = getattr(settings.limits, name)
        if not given >= (0 if name in may_be_zero else 1):  # "nan" is neither
            yield f"limits.{name}", "give a number above 0"
        if given > _MOST:
            yield f"limits.{name}", f"at most {_MOST}"


def _listen(settings: Settings) -> _Problems:
    sockets = [address for address in settings.listen if address.startswith("unix:")]
    if settings.tls is not None and len(sockets) == len(settings.listen):
        yield "listen", f"{', '.join(sockets)}: [tls] is for TCP, a Unix socket needs none: list host:port too"
    for address in settings.listen:
        if settings.listen.count(address) > 1:
            yield "listen", f"{address!r} is listed twice"
        yield from _socket(address) if address in sockets else _port(address, settings)


def _socket(address: str) -> _Problems:
    path = address.removeprefix("unix:")
    if not path.startswith("/") or not _is_text(path):
        yield "listen", f"{address!r}: give an absolute path in UTF-8"
    # sun_path has 108 bytes, the last one NUL: unix(7).
    if len(os.fsencode(path)) > 107:
        yield "listen", f"{address!r}: a socket's path has at most 107 bytes: list a shorter one"


def _port(address: str, settings: Settings) -> _Problems:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        yield "listen", f"{address!r}: give unix:/path or host:port"
    elif settings.tls is None and not settings.insecure:
        yield "listen", f"{address!r}: {_TCP_NEEDS}"
    elif settings.tls is None and host not in _LOOPBACK:
        yield "listen", f"{address!r}: insecure is for loopback only: 127.0.0.1 or [::1]"


def _policy(policy: PolicySettings) -> _Problems:
    for program in policy.programs:
        given = program if isinstance(program, ProgramSettings) else ProgramSettings(program)
        yield from _path("policy.programs", given.path)
        yield from _sha256("policy.programs", given.sha256)
    if policy.allow == "programs" and not policy.programs:
        yield "policy.allow", '"programs" lets nothing run until policy.programs names some'
    if policy.allow != "programs" and policy.programs:
        yield "policy.programs", 'has no effect without allow = "programs"'
    for directory in policy.directories:
        yield from _path("policy.directories", directory)
    if policy.environment is not None:
        yield from _environment("policy.environment", policy.environment)
    if policy.user:
        try:
            found = pwd.getpwnam(policy.user)
        except KeyError:
            yield "policy.user", f"{policy.user!r}: there is no such user"
        else:
            if os.geteuid() not in (0, found.pw_uid):
                yield "policy.user", f"{policy.user!r}: only root can run tasks as somebody else"
    if policy.oom_score_adj is not None:
        yield from _oom_score_adj(policy.oom_score_adj)


def _oom_score_adj(wanted: int) -> _Problems:
    if not _LEAST_OOM_SCORE_ADJ <= wanted <= _MOST_OOM_SCORE_ADJ:
        yield "policy.oom_score_adj", f"from {_LEAST_OOM_SCORE_ADJ} to {_MOST_OOM_SCORE_ADJ}"
    elif not oom_score.may_become(wanted):
        yield "policy.oom_score_adj", f"{wanted}: lower than the agent's own only with CAP_SYS_RESOURCE"


def _ceilings(key: str, ceilings: CeilingSettings) -> _Problems:
    for name in ceilings.__struct_fields__:
        if not getattr(ceilings, name) >= 0:  # "nan" is neither
            yield f"{key}.{name}", "not negative; 0: no limit"
    for name in ceilings.__struct_fields__:
        if getattr(ceilings, name) > (_MOST if name in ("open_files", "processes", "cpu_seconds") else _MOST_BYTES):
            yield f"{key}.{name}", "too great: leave it out for no limit"
    if 0 < ceilings.max_runtime_seconds < _LEAST_SECONDS:
        yield f"{key}.max_runtime_seconds", f"at least {_LEAST_SECONDS}"
    if 0 < ceilings.log_bytes < rules.LEAST_LOG_BYTES:
        yield f"{key}.log_bytes", f"at least {rules.LEAST_LOG_BYTES}"
    if ceilings.niceness > rules.MOST_RESOURCES["niceness"]:
        yield f"{key}.niceness", f"0 to {rules.MOST_RESOURCES['niceness']}"
    if 0 < ceilings.lease_ttl_seconds < 1:
        yield f"{key}.lease_ttl_seconds", "at least 1"
    for name in ("max_runtime_seconds", "lease_ttl_seconds", "max_stop_seconds"):
        if getattr(ceilings, name) > _LONGEST_SECONDS:
            yield f"{key}.{name}", f"at most {_LONGEST_SECONDS}"


def _template(name: str, template: TemplateSettings) -> _Problems:
    key = f"templates.{name}"
    if not _NAME.fullmatch(name):
        yield key, "a name has 1 to 64 characters of A-Z a-z 0-9 . _ -, the first a letter or digit"
    yield from _path(f"{key}.working_directory", template.working_directory)
    yield from _sha256(f"{key}.sha256", template.sha256)
    yield from _environment(f"{key}.environment", template.environment)
    for parameter, settings in template.parameters.items():
        yield from _parameter(f"{key}.parameters.{parameter}", parameter, settings)
    yield from _command(f"{key}.argv", template.argv, template.parameters)
    yield from _placeholders(f"{key}.env", template.env.values(), template.parameters)
    for variable in template.env:
        if not _ENVIRONMENT.fullmatch(variable) or "*" in variable or variable.startswith("FARSPAWN_"):
            yield f"{key}.env", f"{variable!r}: not a name that the site can set"
    if template.cleanup is not None:
        yield from _command(f"{key}.cleanup.argv", template.cleanup.argv, template.parameters)
        if not 0 < template.cleanup.timeout_seconds <= _LONGEST_SECONDS:
            yield f"{key}.cleanup.timeout_seconds", f"more than 0, at most {_LONGEST_SECONDS}"
    if template.readiness is not None:
        yield from _readiness(f"{key}.readiness", template.readiness)
    yield from _stop(f"{key}.stop", template.stop)
    yield from _ceilings(f"{key}.limits", template.limits)


def _parameter(key: str, name: str, parameter: ParameterSettings) -> _Problems:
    if not name.isidentifier():
        yield key, "a parameter's name has letters, digits and _, and does not begin with a digit"
    least, most = parameter.minimum, parameter.maximum
    is_integer = least is not None and most is not None
    if (parameter.minimum is None) != (parameter.maximum is None):
        yield key, "give minimum and maximum both"
    elif least is not None and most is not None and least > most:
        yield f"{key}.minimum", f"{least} is above maximum {most}: no value would do. Swap them"
    elif bool(parameter.pattern) + bool(parameter.choices) + is_integer != 1:
        yield key, "give exactly one check: pattern, choices, or minimum and maximum"
    for choice in parameter.choices:
        if not choice or Parameter(choices=(choice,)).problem(choice):
            yield f"{key}.choices", f"{choice[:64]!r}: a choice has 1 to {MAX_VALUE_BYTES} bytes, without NUL"
    try:
        matches(parameter.pattern, "")
    except re2.error as error:
        # RE2's error says what in bytes.
        what = bytes(error.args[0]).decode(errors="replace")
        yield f"{key}.pattern", f"{what}; see https://github.com/google/re2/wiki/Syntax"
        return
    if max(abs(parameter.minimum or 0), abs(parameter.maximum or 0)) > _MOST_BYTES:
        yield key, f"minimum and maximum: at most {_MOST_BYTES}"
    integers = None
    if parameter.minimum is not None and parameter.maximum is not None:
        integers = (parameter.minimum, parameter.maximum)
    checked = Parameter(parameter.pattern, parameter.choices, integers)
    if parameter.default is not None and (problem := checked.problem(parameter.default)):
        yield f"{key}.default", f"{parameter.default!r}: give {problem}"


def _command(key: str, argv: tuple[str, ...], parameters: Mapping[str, ParameterSettings]) -> _Problems:
    if not argv:
        yield key, "give at least the program"
        return
    yield from _path(key, argv[0])
    if "{" in argv[0] or "}" in argv[0]:
        yield key, f"{argv[0]!r}: the program is the owner's choice, it has no placeholders"
    yield from _placeholders(key, argv[1:], parameters)


def _placeholders(key: str, texts: Iterable[str], parameters: Mapping[str, ParameterSettings]) -> _Problems:
    for text in texts:
        if "\0" in text:
            yield key, f"{text!r}: holds a NUL character"
        try:
            parts = list(string.Formatter().parse(text))
        except ValueError as error:
            yield key, f"{text!r}: {error}; write {{{{ and }}}} for braces"
            continue
        for _, name, format_spec, conversion in parts:
            if name is not None and (name not in parameters or format_spec or conversion):
                yield key, f"{text!r}: {{{name}}} is not one of its parameters; write {{{{ and }}}} for braces"


def _readiness(key: str, readiness: ReadinessSettings) -> _Problems:
    given = [each for each in (readiness.log_line, readiness.tcp_port, readiness.file) if each is not None]
    if len(given) != 1:
        yield key, "give exactly one check: log_line, tcp_port or file"
    if readiness.tcp_port is not None and not 1 <= readiness.tcp_port <= rules.LAST_PORT:
        yield f"{key}.tcp_port", f"from 1 to {rules.LAST_PORT}"
    if readiness.file is not None:
        yield from _path(f"{key}.file", readiness.file)
    if readiness.log_line == "":
        yield f"{key}.log_line", "give a pattern"


def _stop(key: str, stop: StopSettings) -> _Problems:
    for name in ("linger_seconds", "drain_seconds", "grace_seconds"):
        if not 0 <= (getattr(stop, name) or 0) <= _LONGEST_SECONDS:
            yield f"{key}.{name}", f"from 0 to {_LONGEST_SECONDS}"
    if stop.signal is not None and not 1 <= stop.signal <= rules.LAST_SIGNAL:
        yield f"{key}.signal", f"from 1 to {rules.LAST_SIGNAL}"


def _path(key: str, path: str) -> _Problems:
    if not path.startswith("/") or posixpath.normpath(path) != path or "\0" in path:
        yield key, f"{path!r}: give an absolute path without . and .."


def _sha256(key: str, digest: str) -> _Problems:
    if digest and not _SHA256.fullmatch(digest):
        yield key, f"{digest!r}: a SHA-256 has 64 digits of 0-9 a-f"


def _environment(key: str, names: tuple[str, ...]) -> _Problems:
    for name in names:
        if not _ENVIRONMENT.fullmatch(name):
            yield key, f"{name!r}: give a name, or the beginning of names and a *"
