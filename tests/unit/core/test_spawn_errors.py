"""Every failure to start is told as the kernel's errno, phase and file; nothing is started, nothing left."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from support.apart import apart, give_up_root
from support.processes import PLAIN, exit_code_of

from farspawn_core import SpawnError, spawn


def _refusal(
    argv: Sequence[str],
    env: Mapping[str, str] = PLAIN,
    cwd: str | None = None,
    descriptors: Sequence[int] = (0, 1, 2),
) -> tuple[str, str, str]:
    """Return errno, phase and file of the refusal to start a program."""
    with pytest.raises(SpawnError) as caught:
        spawn(argv, env=env, cwd=cwd, descriptors=descriptors)
    error = caught.value
    return errno.errorcode[error.errno or 0], error.phase.name, error.filename


def _program(path: Path, text: str, mode: int = 0o755) -> str:
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return str(path)


def test_a_missing_program_is_enoent() -> None:
    assert _refusal(["/nowhere/tool"]) == ("ENOENT", "PROGRAM", "/nowhere/tool")
    assert _refusal(["no-such-tool"]) == ("ENOENT", "PROGRAM", "no-such-tool")


def test_a_directory_as_program_is_eacces(tmp_path: Path) -> None:
    assert _refusal([str(tmp_path)]) == ("EACCES", "PROGRAM", str(tmp_path))


def test_a_program_without_the_right_to_execute_is_eacces(tmp_path: Path) -> None:
    path = _program(tmp_path / "tool", "#!/bin/sh\n", mode=0o644)

    assert _refusal([path]) == ("EACCES", "PROGRAM", path)


def test_a_fifo_as_program_is_eacces_at_once(tmp_path: Path) -> None:
    path = str(tmp_path / "fifo")
    os.mkfifo(path, 0o777)

    assert _refusal([path]) == ("EACCES", "PROGRAM", path)


def test_a_program_inside_a_file_is_enotdir() -> None:
    assert _refusal(["/bin/true/tool"]) == ("ENOTDIR", "PROGRAM", "/bin/true/tool")


def test_a_program_behind_a_circle_of_links_is_eloop(tmp_path: Path) -> None:
    path = tmp_path / "circle"
    path.symlink_to("circle")

    assert _refusal([str(path)]) == ("ELOOP", "PROGRAM", str(path))


def test_a_missing_interpreter_is_enoent_in_the_spawn(tmp_path: Path) -> None:
    path = _program(tmp_path / "tool", "#!/nowhere/interpreter\n")

    assert _refusal([path]) == ("ENOENT", "SPAWN", path)


def test_a_file_that_is_no_program_is_enoexec_and_not_given_to_a_shell(tmp_path: Path) -> None:
    path = _program(tmp_path / "tool", f"echo gone >{tmp_path}/ran\n")

    assert _refusal([path]) == ("ENOEXEC", "SPAWN", path)
    assert not (tmp_path / "ran").exists()


def test_a_program_that_is_being_written_is_etxtbsy(tmp_path: Path) -> None:
    path = tmp_path / "tool"
    path.write_bytes(Path("/bin/true").read_bytes())
    path.chmod(0o755)

    with path.open("ab"):
        assert _refusal([str(path)]) == ("ETXTBSY", "SPAWN", str(path))
    assert exit_code_of([str(path)]) == 0


def test_one_argument_too_long_is_e2big() -> None:
    assert _refusal(["/bin/true", "x" * (1 << 18)]) == ("E2BIG", "SPAWN", "/bin/true")


def test_ten_megabytes_of_arguments_are_e2big() -> None:
    assert _refusal(["/bin/true", *["x" * 1000] * 10_000]) == ("E2BIG", "SPAWN", "/bin/true")


def test_an_environment_too_long_is_e2big() -> None:
    assert _refusal(["/bin/true"], env={"A": "x" * (1 << 18)}) == ("E2BIG", "SPAWN", "/bin/true")


def test_a_missing_directory_is_enoent() -> None:
    assert _refusal(["true"], cwd="/nowhere") == ("ENOENT", "WORKING_DIRECTORY", "/nowhere")
    assert _refusal(["true"], cwd="") == ("ENOENT", "WORKING_DIRECTORY", "")


def test_a_directory_that_is_a_file_is_enotdir() -> None:
    assert _refusal(["true"], cwd="/bin/true") == ("ENOTDIR", "WORKING_DIRECTORY", "/bin/true")


def test_the_directory_is_refused_before_the_program() -> None:
    assert _refusal(["no-such-tool"], cwd="/nowhere") == ("ENOENT", "WORKING_DIRECTORY", "/nowhere")


def test_a_descriptor_that_is_not_open_is_ebadf() -> None:
    closed, writing = os.pipe()
    os.close(closed)
    try:
        # With a directory and three descriptors to lift, ours would take the number of the closed one.
        assert _refusal(["true"], cwd="/", descriptors=(0, 1, closed)) == ("EBADF", "SPAWN", f"descriptor {closed}")
    finally:
        os.close(writing)


def _refusal_with_standard_input_closed() -> tuple[str, str, str]:
    os.close(0)
    return _refusal(["/bin/true"])


def test_a_standard_stream_that_is_not_open_is_ebadf() -> None:
    assert tuple(apart.run(_refusal_with_standard_input_closed)) == ("EBADF", "SPAWN", "descriptor 0")


def _refusals_without_the_right_to_enter(closed: str) -> list[tuple[str, str, str]]:
    give_up_root()
    return [
        _refusal(["/bin/true"], cwd=closed),
        _refusal([f"{closed}/tool"]),
        _refusal(["tool"], env={"PATH": f"{closed}:/nowhere"}),
    ]


def test_a_directory_that_may_not_be_entered_is_eacces(public_path: Path) -> None:
    closed = public_path / "closed"
    closed.mkdir()
    tool = _program(closed / "tool", "#!/bin/sh\n")
    closed.chmod(0o600)
    try:
        refusals = apart.run(_refusals_without_the_right_to_enter, str(closed))
    finally:
        closed.chmod(0o700)

    assert [tuple(refusal) for refusal in refusals] == [
        ("EACCES", "WORKING_DIRECTORY", str(closed)),
        ("EACCES", "PROGRAM", tool),
        ("EACCES", "PROGRAM", "tool"),
    ]


def _refusal_with_no_process_left() -> tuple[str, str, str]:
    give_up_root()
    resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
    return _refusal(["/bin/true"])


def test_a_user_with_too_many_processes_is_eagain() -> None:
    assert tuple(apart.run(_refusal_with_no_process_left)) == ("EAGAIN", "SPAWN", "/bin/true")


def test_an_empty_command_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="argv is empty"):
        spawn([], env=PLAIN)


@pytest.mark.parametrize("argv", [["/bin/true", "a\0b"], ["/bin/true\0"], ["\0"]])
def test_a_nul_in_the_command_is_a_value_error(argv: list[str]) -> None:
    with pytest.raises(ValueError, match=r"NUL|null"):
        spawn(argv, env=PLAIN)


@pytest.mark.parametrize("env", [{"A": "a\0b"}, {"A\0": "b"}, {"PATH": "/bin\0"}])
def test_a_nul_in_the_environment_is_a_value_error(env: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"NUL|null"):
        spawn(["/bin/true"], env=env)


def test_a_nul_in_the_directory_is_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"NUL|null"):
        spawn(["/bin/true"], env=PLAIN, cwd="/\0")


@pytest.mark.parametrize("name", ["", "=", "A=B", "A="])
def test_an_environment_name_that_is_empty_or_holds_an_equals_sign_is_a_value_error(name: str) -> None:
    with pytest.raises(ValueError, match="environment name"):
        spawn(["/bin/true"], env={name: "x"})


def _children_after_a_failed_start() -> bool:
    _refusal(["/bin/true", "x" * (1 << 18)])
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return False
    return True


def test_a_failed_start_leaves_not_even_a_zombie() -> None:
    assert not apart.run(_children_after_a_failed_start)


def test_the_message_names_the_file_and_quotes_the_kernel() -> None:
    with pytest.raises(SpawnError) as caught:
        spawn(["/nowhere/tool"], env=PLAIN)

    assert str(caught.value) == "/nowhere/tool: No such file or directory (program)"
