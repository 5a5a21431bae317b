"""Commands that the site's owner wrote, with placeholders for what a caller gives.

What a caller gives is one value among those that the owner's checks let through; it never becomes an option: a value
that stands at the beginning of an argument must not begin with a "-".
"""

from __future__ import annotations

import string
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

import re2

from farspawn_server.policy.ceilings import Ceilings
from farspawn_server.task.errors import SpecInvalidError, Violation
from farspawn_server.task.spec import Cleanup, Readiness, Spec, StopPlan

MAX_VALUE_BYTES = 4096

_INTEGER = re2.compile(r"-?(0|[1-9][0-9]{0,18})")
_OPTIONS = re2.Options()
_OPTIONS.never_capture = True  # faster: we only want to know whether
_OPTIONS.log_errors = False  # whoever calls tells them


def matches(pattern: str, value: str) -> bool:
    """Whether a value matches an owner's pattern, whole.

    RE2 takes time in proportion to the value, whatever the pattern. A matcher that backtracks, such as the standard
    library's, can be kept busy for years by forty letters of a caller's.

    Raises:
        re2.error: the pattern is not one of RE2's.
    """
    return re2.compile(pattern, _OPTIONS).fullmatch(value) is not None


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a caller may give: a text that matches the pattern, one of the choices, or an integer in the range."""

    pattern: str = ""
    choices: tuple[str, ...] = ()
    integers: tuple[int, int] | None = None
    default: str | None = None

    def problem(self, value: str) -> str:
        """Return what is wrong with a value, empty: nothing."""
        if len(value.encode()) > MAX_VALUE_BYTES or "\0" in value:
            return f"at most {MAX_VALUE_BYTES} bytes, without NUL"
        if self.choices:
            return "" if value in self.choices else f"one of {', '.join(self.choices)}"
        if self.integers is not None:
            least, most = self.integers
            fits = _INTEGER.fullmatch(value) and least <= int(value) <= most
            return "" if fits else f"a decimal integer from {least} to {most}"
        return "" if matches(self.pattern, value) else f"a text that matches {self.pattern}"


@dataclass(frozen=True, slots=True)
class Template:
    """A command; `revision` names exactly this wording of it.

    Attributes:
        environment: names that callers may set besides.
        merge_output: standard error joins standard output; None: callers may ask for it.
    """

    name: str
    revision: str
    argv: tuple[str, ...]
    description: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    working_directory: str = "/"
    environment: tuple[str, ...] = ()
    open_input: bool = False
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    sha256: str = ""
    stop: StopPlan = StopPlan()
    ceilings: Ceilings = Ceilings()
    cleanup: Cleanup | None = None
    readiness: Readiness | None = None
    merge_output: bool | None = None

    def fill(self, spec: Spec, secrets: Collection[str] = ()) -> Spec:
        """Return what a spec that names this template comes to.

        Args:
            spec: names this template.
            secrets: names of the environment that the caller gives besides.

        Raises:
            SpecInvalidError: the spec gives what is the template's, or not what its parameters need.
        """
        violations = [*self._taken(spec, secrets), *self._bad_values(spec.parameters)]
        if violations:
            raise SpecInvalidError(violations)
        values = {name: each.default for name, each in self.parameters.items() if each.default is not None}
        values |= spec.parameters
        argv = (self.argv[0], *(self._filled(f"argv[{at}]", text, values) for at, text in enumerate(self.argv[1:], 1)))
        env = {name: text.format_map(values) for name, text in self.env.items()}
        cleanup = self.cleanup
        if cleanup is not None:
            words = (self._filled(f"cleanup.argv[{at}]", text, values) for at, text in enumerate(cleanup.argv[1:], 1))
            cleanup = replace(cleanup, argv=(cleanup.argv[0], *words))
        return replace(
            spec,
            argv=argv,
            env={**spec.env, **env},
            working_directory=self.working_directory,
            stop=spec.stop.or_else(self.stop),
            cleanup=cleanup,
            readiness=self.readiness,
            merge_output=spec.merge_output if self.merge_output is None else self.merge_output,
        )

    def _taken(self, spec: Spec, secrets: Collection[str]) -> Iterator[Violation]:
        given = {
            "spec.argv": spec.argv,
            "spec.working_directory": spec.working_directory != "/",
            "spec.cleanup": spec.cleanup,
            "spec.readiness": spec.readiness,
            "spec.open_input": spec.open_input and not self.open_input,
            "spec.merge_output": spec.merge_output and self.merge_output is False,
        }
        for name, value in given.items():
            if value:
                yield Violation(name, f"is for template {self.name!r} to say: leave it out")
        for name in self.env.keys() & spec.env.keys():
            yield Violation(f"spec.env[{name[:64]!r}]", f"is set by template {self.name!r}: leave it out")
        for name in self.env.keys() & set(secrets):
            yield Violation(f"secrets[{name[:64]!r}]", f"is set by template {self.name!r}: leave it out")

    def _bad_values(self, given: Mapping[str, str]) -> Iterator[Violation]:
        for name in given.keys() - self.parameters.keys():
            known = ", ".join(sorted(self.parameters)) or "none"
            yield Violation(
                f"spec.parameters[{name[:64]!r}]", f"template {self.name!r} has no such one; it has: {known}"
            )
        for name, parameter in self.parameters.items():
            if name in given:
                if problem := parameter.problem(given[name]):
                    yield Violation(f"spec.parameters[{name!r}]", f"give {problem}")
            elif parameter.default is None:
                yield Violation(f"spec.parameters[{name!r}]", f"template {self.name!r} needs it")

    def _filled(self, place: str, text: str, values: Mapping[str, str]) -> str:
        filled = text.format_map(values)
        before, name, _, _ = next(iter(string.Formatter().parse(text)), ("", None, None, None))
        if not before and name is not None and filled.startswith("-") and self.parameters[name].integers is None:
            raise SpecInvalidError([Violation(f"spec.parameters[{name!r}]", f"{place} must not begin with '-'")])
        return filled
