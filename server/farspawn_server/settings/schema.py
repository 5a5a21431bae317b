"""The schema of `site.toml`: every table and key, its default, and what it means."""

from __future__ import annotations

from typing import Literal

import msgspec


class LimitSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[limits]`: how much the site takes on.

    Attributes:
        max_live_tasks: that have not ended, all owners together.
        max_live_tasks_per_owner: the same of one owner; 0: no limit of its own.
        max_launches_per_second: of one owner in the long run, as many at once; 0: no limit. Restarts count too, and
            wait where launches are refused.
        max_ended_tasks: that are remembered; beyond it the oldest of the owner who has most are forgotten.
        max_specs_bytes: of all that the tasks which are remembered were launched with, for it is kept in memory; beyond
            it ended ones are forgotten likewise, and while that is not enough nothing is launched.
        max_poll_tasks: ids in one Poll.
        max_connections: at once, those that are still shaking hands included; one more is closed. Read at start only.
    """

    max_live_tasks: int = 10_000
    max_live_tasks_per_owner: int = 0
    max_launches_per_second: float = 0
    max_ended_tasks: int = 10_000
    max_specs_bytes: int = 256 << 20
    max_poll_tasks: int = 10_000
    max_connections: int = 1000


class TlsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[tls]`: PEM files for mutual TLS. They are watched: replace them, and new connections use the new ones.

    Attributes:
        certificate: the site's, with the chain up to a root that its callers trust.
        key: the certificate's private key.
        authorities: the roots that sign the certificates of callers.
    """

    certificate: str
    key: str
    authorities: str


class GrantSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[[grants]]`: what somebody may do, and see.

    Attributes:
        identity: whose grant it is; `x*`: of all whose identity begins with x.
        role: what they may do; only an admin may change tasks of others.
        sees: whose tasks they see: their "own", those of "all", or their own and those of a list of identities, each
            of which may end in `*`. Default: an admin all, others their own.
    """

    identity: str
    role: Literal["viewer", "operator", "admin"]
    sees: str | tuple[str, ...] = ""


class ProgramSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A program that callers may start: an absolute path, and the SHA-256 that its file must have; empty: any."""

    path: str
    sha256: str = ""


class PolicySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[policy]`: what callers may start, and as what.

    Attributes:
        allow: "templates" only, or also the "programs" of the list, or "any", whichever way callers come. Default:
            "any" by a Unix socket, which only the owner can open; "templates" over TCP.
        programs: for "programs".
        directories: tasks work within these, symbolic links resolved; empty: anywhere.
        environment: names that callers may set, or beginnings of names before a `*`. Absent: any but those that change
            what programs load, which only admins may set.
        user: to run tasks as; empty: the agent's own. Only where the agent is root.
        oom_score_adj: of tasks, -1000 to 1000: the kernel ends the highest first when memory is short. Absent: 500, or
            the agent's own if that is higher.
    """

    allow: Literal["", "templates", "programs", "any"] = ""
    programs: tuple[str | ProgramSettings, ...] = ()
    directories: tuple[str, ...] = ()
    environment: tuple[str, ...] | None = None
    user: str = ""
    oom_score_adj: int | None = None


class CeilingSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[ceilings]`: what a task may have at most; a caller may only ask for less. 0: no limit.

    Attributes:
        max_runtime_seconds: of one attempt.
        lease_ttl_seconds: of the lease; a task that asks for none gets this one.
        max_stop_seconds: of a whole stop, from linger to SIGKILL, and of a cleanup. 0: ten minutes where there is one
            of the two above, which would mean little without; else no limit.
        log_bytes: kept of each output of each attempt.
        address_space_bytes, open_files, cpu_seconds: resource limits of a process, see setrlimit(2).
        processes: of a task together, threads included, by its cgroup; where tasks have none that can, of the user that
            all of them run as.
        memory_bytes: of a task together, by its cgroup.
        niceness: the least, see nice(1).
    """

    max_runtime_seconds: float = 0
    lease_ttl_seconds: float = 0
    max_stop_seconds: float = 0
    log_bytes: int = 0
    address_space_bytes: int = 0
    cpu_seconds: int = 0
    open_files: int = 0
    processes: int = 0
    memory_bytes: int = 0
    niceness: int = 0


class ParameterSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[templates.NAME.parameters.NAME]`: what a caller may put in a placeholder; exactly one kind of check.

    Attributes:
        pattern: a regular expression in RE2's syntax, which has no lookaround and no back-references; the value matches
            it whole.
        choices: what it may be.
        minimum, maximum: of a decimal integer; both are given.
        default: the value if none is given; absent: one must be.
    """

    pattern: str = ""
    choices: tuple[str, ...] = ()
    minimum: int | None = None
    maximum: int | None = None
    default: str | None = None


class StopSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a template's tasks are stopped if their caller says nothing else; absent: the site's defaults.

    Attributes:
        scope: whom the signal is sent to: "tree", all processes, or "leader", the first one only.
    """

    linger_seconds: float | None = None
    drain_seconds: float | None = None
    signal: int | None = None
    grace_seconds: float | None = None
    scope: Literal["tree", "leader"] | msgspec.UnsetType = msgspec.UNSET  # unset it is no part of a template's revision


class CleanupSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What runs after each attempt of a template's task."""

    argv: tuple[str, ...]
    timeout_seconds: float = 60


class ReadinessSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to tell that a template's task is ready: exactly one."""

    log_line: str | None = None
    tcp_port: int | None = None
    file: str | None = None


class TemplateSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[templates.NAME]`: a command that the owner wrote. `{name}` stands for a parameter, `{{` and `}}` for braces.

    Attributes:
        argv: the program, an absolute path without placeholders, and its arguments.
        description: for people.
        env: fixed; may hold placeholders in values.
        working_directory: where it starts.
        environment: names that callers may set besides, as in `[policy]`.
        open_input: callers may ask for an input.
        merge_output: standard error joins standard output; left out: callers may ask for it.
        parameters: what callers give.
        sha256: what the program's file must have; empty: any.
        stop, cleanup, readiness: as in the contract.
        limits: as in `[ceilings]`, for this template's tasks besides those.
    """

    argv: tuple[str, ...]
    description: str = ""
    env: dict[str, str] = {}
    working_directory: str = "/"
    environment: tuple[str, ...] = ()
    open_input: bool = False
    merge_output: bool | msgspec.UnsetType = msgspec.UNSET  # unset it is no part of a template's revision
    parameters: dict[str, ParameterSettings] = {}
    sha256: str = ""
    stop: StopSettings = StopSettings()
    cleanup: CleanupSettings | None = None
    readiness: ReadinessSettings | None = None
    limits: CeilingSettings = CeilingSettings()


class AuditSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[audit]`: the record of what was asked.

    Attributes:
        max_file_bytes: a file so large is followed by another.
        max_files: that are kept; 0: all.
    """

    max_file_bytes: int = 64 << 20
    max_files: int = 0


class DrainSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[drain]`: how the agent ends, when SIGTERM asks it to.

    Attributes:
        patience_seconds: how long tasks may go on by themselves before they are stopped by their plans.
    """

    patience_seconds: float = 0


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of `site.toml`.

    Attributes:
        name: of the site; empty: the host's name.
        state: the directory of database, logs and lock; empty: see `default_state`.
        listen: where to serve, each "unix:/path" or "host:port", or a single one. The owner's Unix socket is always
            there: if none is listed, at the default place.
        insecure: serve TCP without TLS, on loopback only.
        tls: certificates; TCP needs them.
        grants: who of those with a certificate may do what.
        denied: identities, and SHA-256 fingerprints of certificates, that are let in no more.
        limits: how much the site takes on.
        policy: what callers may start.
        ceilings: what a task may have at most.
        templates: commands that the owner wrote, by name.
        audit: the record of what was asked.
        drain: how the agent ends.
    """

    name: str = ""
    state: str = ""
    listen: tuple[str, ...] = ()
    insecure: bool = False
    tls: TlsSettings | None = None
    grants: tuple[GrantSettings, ...] = ()
    denied: tuple[str, ...] = ()
    limits: LimitSettings = LimitSettings()
    policy: PolicySettings = PolicySettings()
    ceilings: CeilingSettings = CeilingSettings()
    templates: dict[str, TemplateSettings] = {}
    audit: AuditSettings = AuditSettings()
    drain: DrainSettings = DrainSettings()
