"""What this site lets run: from what a caller asks for to what the owner permits.

Only what was written down is looked at here, no file: a path on a dead mount must not delay other calls. What files are
in truth, the keeper sees when it opens them: it holds a task to its directories and its program to its digest.
"""

from __future__ import annotations

import enum
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from farspawn_server.policy.callers import Caller, Role
from farspawn_server.policy.ceilings import Ceilings
from farspawn_server.policy.environment import may_set
from farspawn_server.policy.templates import Template
from farspawn_server.task.errors import LimitUnsupportedError, PolicyDeniedError, TemplateChangedError
from farspawn_server.task.spec import DEFAULT_OOM_SCORE_ADJ, Permit, Spec, StopPlan


class Admission(enum.Enum):
    """Which programs callers may start."""

    TEMPLATES = "templates"
    PROGRAMS = "programs"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class Policy:
    """What the owner has written.

    Attributes:
        admission: which programs callers may start over TCP.
        owners_admission: the same by the owner's Unix socket.
        programs: for PROGRAMS: absolute paths, and the SHA-256 that each file must have; empty: any.
        directories: callers' programs work within these; none: anywhere.
        environment: names that callers may set; None: who may start any program, and the owner at the Unix socket, all
            but the dangerous ones, which only admins may; others none.
        user: to run tasks as; empty: the agent's own.
        oom_score_adj: of tasks.
        ceilings: what a task may have at most.
        templates: by name.
        unenforceable: limits that the site cannot enforce, by their names in `Resources`, and why.
    """

    admission: Admission = Admission.ANY
    owners_admission: Admission = Admission.ANY
    programs: Mapping[str, str] = field(default_factory=dict)
    directories: tuple[str, ...] = ()
    environment: tuple[str, ...] | None = None
    user: str = ""
    oom_score_adj: int = DEFAULT_OOM_SCORE_ADJ
    ceilings: Ceilings = Ceilings()
    templates: Mapping[str, Template] = field(default_factory=dict)
    unenforceable: Mapping[str, str] = field(default_factory=dict)

    def admission_of(self, caller: Caller) -> Admission:
        """Return which programs a caller may start."""
        return self.owners_admission if caller.is_at_socket else self.admission

    def permit(self, caller: Caller, spec: Spec, secrets: Mapping[str, str]) -> Permit | None:
        """Return what the site makes of a spec; None: it runs as it was asked for, and nothing is imposed.

        Raises:
            PolicyDeniedError: the owner does not allow it.
            TemplateChangedError: the template is not the one that the caller means.
            SpecInvalidError: the template cannot be filled in with this.
            LimitUnsupportedError: the site cannot enforce a limit that is asked for.
        """
        if spec.template:
            permit, ceilings = self._from_template(caller, spec, secrets)
        else:
            permit, ceilings = self._from_program(caller, spec, secrets), self.ceilings
        permit = replace(
            permit,
            terms=ceilings.lower(permit.terms),
            secrets=secrets,
            user=self.user,
            oom_score_adj=self.oom_score_adj,
        )
        for name, why in self.unenforceable.items():
            if getattr(permit.terms.resources, name):
                raise LimitUnsupportedError(f"spec.resources.{name}", why)
        return None if permit == Permit(spec) else permit

    def admit_stop(self, template: str, plan: StopPlan) -> None:
        """Raise PolicyDeniedError if such a stop may take longer than the site allows, or that template does."""
        found = self.templates.get(template)
        (self.ceilings if found is None else self._ceilings(found)).admit_stop(plan)

    def _from_template(self, caller: Caller, spec: Spec, secrets: Mapping[str, str]) -> tuple[Permit, Ceilings]:
        template = self.templates.get(spec.template)
        if template is None:
            raise PolicyDeniedError(
                f"this site has no template {spec.template!r}: GetSite lists them", rule="templates"
            )
        if spec.template_revision not in ("", template.revision):
            raise TemplateChangedError(template.name, template.revision)
        for name in (*spec.env, *secrets):
            if not may_set(name, template.environment, is_admin=caller.role is Role.ADMIN):
                raise PolicyDeniedError(
                    f"template {template.name!r} lets callers not set {name!r}",
                    rule=f"templates.{template.name}.environment",
                )
        permit = Permit(template.fill(spec, secrets), template_revision=template.revision, sha256=template.sha256)
        return permit, self._ceilings(template)

    def _ceilings(self, template: Template) -> Ceilings:
        return template.ceilings.within(self.ceilings)

    def _from_program(self, caller: Caller, spec: Spec, secrets: Mapping[str, str]) -> Permit:
        admission = self.admission_of(caller)
        if admission is Admission.TEMPLATES:
            known = ", ".join(sorted(self.templates)) or "none yet"
            raise PolicyDeniedError(f"this site runs only its owner's templates ({known})", rule="policy.allow")
        self._check_environment(admission, caller, (*spec.env, *secrets))
        if self.directories:
            spec = replace(spec, working_directory=self._directory(spec.working_directory))
        if spec.readiness is not None and spec.readiness.file is not None:
            self._directory(spec.readiness.file)
        cleanup = "" if spec.cleanup is None else self._digest(admission, spec.cleanup.argv[0])
        program = self._digest(admission, spec.argv[0])
        return Permit(spec, directories=self.directories, sha256=program, cleanup_sha256=cleanup)

    def _digest(self, admission: Admission, program: str) -> str:
        """Return what a program's file must have for its digest; empty: any."""
        if admission is Admission.ANY:
            return ""
        if program not in self.programs:
            raise PolicyDeniedError(
                f"{program!r} is not among the programs that this site starts; give one of them by its absolute path",
                rule="policy.programs",
            )
        return self.programs[program]

    def _check_environment(self, admission: Admission, caller: Caller, names: Sequence[str]) -> None:
        # Which names a listed program takes for orders only its owner knows: the list of dangerous ones is never whole.
        default = None if admission is Admission.ANY or caller.is_at_socket else ()
        allowed = default if self.environment is None else self.environment
        for name in names:
            if not may_set(name, allowed, is_admin=caller.role is Role.ADMIN):
                raise PolicyDeniedError(
                    f"this site lets callers not set {name!r}: its owner lists names in policy.environment",
                    rule="policy.environment",
                )

    def _directory(self, path: str) -> str:
        """Return a path if it is, by its letters, within the site's directories; for `/` the first of those."""
        if not self.directories:
            return path
        if path == "/":
            return self.directories[0]
        normal = posixpath.normpath(path)
        if not any(normal == each or normal.startswith(f"{each.rstrip('/')}/") for each in self.directories):
            raise PolicyDeniedError(
                f"{path!r} is outside of the directories of this site: {', '.join(self.directories)}",
                rule="policy.directories",
            )
        return path
