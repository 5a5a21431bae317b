"""Disks that are full, files that refuse to be written: real ones, made by root for one test."""

from __future__ import annotations

import array
import fcntl
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

# linux/fs.h
_FS_IOC_GETFLAGS = 0x80086601
_FS_IOC_SETFLAGS = 0x40086602
_FS_IMMUTABLE_FL = 0x10


class SmallDisk:
    """A file system of a few megabytes, to be filled to the last byte."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self) -> None:
        """Leave no byte free."""
        with self._ballast.open("ab", buffering=0) as file:
            for size in (1 << 16, 1 << 12, 1):
                try:
                    while file.write(bytes(size)) == size:
                        pass
                except OSError:
                    continue

    def empty(self) -> None:
        """Give back what `fill` took."""
        self._ballast.unlink()


@contextmanager
def small_disk(path: Path, megabytes: int = 2) -> Iterator[SmallDisk]:
    """Mount a small file system at `path`, which is made."""
    path.mkdir(mode=0o700)
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "tmpfs", str(path)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"needs root, to mount a small disk: {mounted.stderr.strip()}")
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@contextmanager
def unwritable(*paths: Path) -> Iterator[None]:
    """Make files such that not even those who have them open can write to them: as on a disk that has gone bad."""
    changed: list[tuple[Path, int]] = []
    try:
        for path in paths:
            try:
                changed.append((path, _change_flags(path, _FS_IMMUTABLE_FL)))
            except OSError as error:
                pytest.skip(f"needs root and a file system with immutable files: {error}")
        yield
    finally:
        for path, before in changed:
            _change_flags(path, 0, keep=before)


def _change_flags(path: Path, add: int, keep: int | None = None) -> int:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        flags = array.array("l", [0])
        fcntl.ioctl(descriptor, _FS_IOC_GETFLAGS, flags)
        before = flags[0]
        flags[0] = (before if keep is None else keep) | add
        fcntl.ioctl(descriptor, _FS_IOC_SETFLAGS, flags)
    finally:
        os.close(descriptor)
    return before
