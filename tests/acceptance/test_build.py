"""What pip builds of this repository carries a shim that runs: with a C compiler on the machine, and without one."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.agent import plain_environment

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[2]
SHIM = "farspawn_core/farspawn-shim"
HERE = sysconfig.get_platform().removeprefix("linux-")
MACHINES = {"x86_64": 62, "aarch64": 183}
"""Names of machines to their e_machine, elf(5)."""
_PT_INTERP = 3


@dataclass(frozen=True)
class Program:
    """What the headers of a 64-bit ELF program say."""

    machine: int
    static: bool

    @classmethod
    def of(cls, content: bytes) -> Program:
        assert content[:4] == b"\x7fELF"
        (machine,) = struct.unpack_from("<H", content, 18)
        (first,) = struct.unpack_from("<Q", content, 32)
        size, count = struct.unpack_from("<HH", content, 54)
        kinds = {struct.unpack_from("<I", content, first + size * each)[0] for each in range(count)}
        return cls(machine, static=_PT_INTERP not in kinds)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """What the image is built from: enough to install farspawn, and nothing that was built before."""
    copy = tmp_path / "source"
    for name in ("core", "server", "client"):
        shutil.copytree(REPOSITORY / name, copy / name, ignore=shutil.ignore_patterns("*farspawn-shim*", "__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, copy)
    return copy


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """The interpreter of an environment with pip only."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    return tmp_path / "venv/bin/python"


@pytest.fixture
def nowhere(tmp_path: Path) -> dict[str, str]:
    """An environment for a machine on which there is no program but Python."""
    return {"PATH": str(tmp_path / "empty")}


@pytest.fixture
def spied_compiler(tmp_path: Path) -> Path:
    """A C compiler that notes in `compiled`, beside it, what it compiled."""
    real = shutil.which("cc")
    if real is None:
        pytest.skip("there is no C compiler on this machine")
    compiler = tmp_path / "spied-cc"
    compiler.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/compiled\nexec {real} "$@"\n', encoding="utf-8")
    compiler.chmod(0o755)
    return compiler


def pip(python: Path, *words: str | Path, environment: Mapping[str, str]) -> None:
    """Run pip; skip the test if a package index is what it lacks."""
    clean = {
        name: value for name, value in plain_environment().items() if name not in {"CC", "FARSPAWN_SHIM", "PYTHONPATH"}
    }
    command = [str(python), "-m", "pip", *map(str, words)]
    ran = subprocess.run(command, env={**clean, **environment}, capture_output=True, text=True, check=False)
    for package in ("hatchling", "ziglang"):
        if f"No matching distribution found for {package}" in ran.stderr:
            pytest.skip(f"pip finds no {package}: no package index can be reached from here")
    assert ran.returncode == 0, ran.stdout + ran.stderr


def wheel(python: Path, source: Path, environment: Mapping[str, str]) -> Path:
    """Build a wheel of a source tree or archive, and return it."""
    pip(python, "wheel", "--no-deps", "-w", source.parent / "wheels", source, environment=environment)
    (built,) = (source.parent / "wheels").iterdir()
    return built


def shim_of(built: Path) -> bytes:
    """Return the shim in a wheel, after a look at its permissions and for what else the build may have left there."""
    with zipfile.ZipFile(built) as archive:
        assert not [name for name in archive.namelist() if name.startswith("farspawn_core/.")]
        assert archive.getinfo(SHIM).external_attr >> 16 & 0o777 == 0o755
        return archive.read(SHIM)


def assert_shim_runs(shim: str) -> None:
    """Start a shim without its descriptors: it gets as far as noticing."""
    ran = subprocess.run([shim], capture_output=True, close_fds=True, timeout=60, check=False)

    assert (ran.returncode, ran.stdout, ran.stderr) == (1, b"", b"")


@pytest.mark.skipif(HERE not in MACHINES, reason=f"Zig is not used on {HERE}")
def test_pip_installs_a_running_shim_on_a_machine_without_a_compiler(
    source: Path, python: Path, nowhere: Mapping[str, str]
) -> None:
    built = wheel(python, source, nowhere)

    assert built.name.endswith(f"-py3-none-linux_{HERE}.whl")
    assert Program.of(shim_of(built)) == Program(MACHINES[HERE], static=True)
    assert len(shim_of(built)) < 128 << 10

    pip(python, "install", "--no-deps", built, environment=nowhere)
    asked = [str(python), "-P", "-c", "from farspawn_core import shim_binary; print(shim_binary.path())"]
    found = subprocess.run(asked, env=nowhere, capture_output=True, text=True, check=True).stdout.strip()

    assert found.endswith(f"/site-packages/{SHIM}")
    assert_shim_runs(found)


def test_a_compiler_that_is_there_is_used(source: Path, python: Path, spied_compiler: Path) -> None:
    built = wheel(python, source, {"CC": str(spied_compiler)})

    assert "main.c" in (spied_compiler.parent / "compiled").read_text(encoding="utf-8")
    assert built.name.endswith(f"-py3-none-{sysconfig.get_platform().replace('-', '_')}.whl")
    assert Program.of(shim_of(built)).static


def test_an_editable_installation_has_its_shim_beside_the_sources(
    source: Path, python: Path, spied_compiler: Path
) -> None:
    pip(python, "install", "--no-deps", "-e", source, environment={"CC": str(spied_compiler)})

    assert os.listdir(source / "core/farspawn_core").count("farspawn-shim") == 1
    assert_shim_runs(str(source / "core" / SHIM))


def test_the_sdist_builds_by_itself(source: Path, python: Path, spied_compiler: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", tmp_path], cwd=source, check=True)
    (archive,) = tmp_path.glob("*.tar.gz")

    built = wheel(python, archive, {"CC": str(spied_compiler)})

    assert Program.of(shim_of(built)).static


@pytest.mark.parametrize("machine", sorted(MACHINES.keys() - {HERE}))
def test_a_release_for_another_machine_is_built_here(
    source: Path, python: Path, nowhere: Mapping[str, str], machine: str
) -> None:
    built = wheel(python, source, {**nowhere, "FARSPAWN_SHIM_MACHINE": machine})

    tags = {f"manylinux_2_17_{machine}", f"manylinux2014_{machine}", f"musllinux_1_1_{machine}"}
    assert set(built.stem.split("-")[-1].split(".")) == tags
    assert Program.of(shim_of(built)) == Program(MACHINES[machine], static=True)


def test_without_anything_to_compile_with_it_is_said_what_to_install(
    source: Path, python: Path, nowhere: Mapping[str, str]
) -> None:
    ran = subprocess.run(
        [python, source / "core/shim/compiler.py"], env=nowhere, capture_output=True, text=True, check=False
    )

    assert ran.returncode == 1
    assert "apt install gcc" in ran.stderr
    assert "pip install ziglang" in ran.stderr
    assert os.listdir(source / "core/farspawn_core").count("farspawn-shim") == 0
