"""What a run writes arrives byte for byte as through a pipe, in bounded files, and with the second in which it came."""

from __future__ import annotations

import errno
import os
import struct
import time
from pathlib import Path
from typing import Any

import pytest
from support.disks import small_disk
from support.shim import OneShim
from support.waiting import until

from farspawn_core import shim

NOBODY = (65534, 65534, (65534,))
KIB = 1024
_MOMENT = struct.Struct("<qQQ")


def moments(run: OneShim) -> list[tuple[int, int, int]]:
    """Return the records of the run file."""
    return list(_MOMENT.iter_unpack(run.run_file.read_bytes()[shim.HEAD_BYTES :]))


def shell(tmp_path: Path, script: str, **fields: Any) -> OneShim:
    run = OneShim(tmp_path, ["sh", "-c", script], **fields)
    run.until("over")
    return run


def test_an_output_that_is_opened_by_name_loses_nothing(tmp_path: Path) -> None:
    script = "echo one; echo two > /dev/stdout; echo three | tee /dev/stderr; echo four >> /proc/self/fd/1"
    with shell(tmp_path, script) as run:
        assert run.output() == b"one\ntwo\nthree\nfour\n"
        assert run.output("stderr") == b"three\n"


def test_another_user_may_open_the_streams_by_name(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to run something as another user")
    with OneShim(
        tmp_path,
        ["sh", "-c", "echo out > /dev/stdout; echo err > /dev/stderr; cat /dev/stdin"],
        user=NOBODY,
        open_input=True,
    ) as run:
        run.send(shim.write(1, 0, b"in", end=True))
        run.until("over")

        assert (run.output(), run.output("stderr")) == (b"out\nin", b"err\n")


def test_merged_outputs_keep_their_order(tmp_path: Path) -> None:
    script = "i=0; while [ $i -lt 500 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done"
    with shell(tmp_path, script, merge_output=True) as run:
        expected = "".join(f"out {n}\nerr {n}\n" for n in range(500))
        assert run.output() == expected.encode()
        assert not (tmp_path / "logs" / "out.stderr").exists()


def test_a_run_that_says_nothing_has_no_output_files(tmp_path: Path) -> None:
    with shell(tmp_path, "true") as run:
        assert [path.name for path in (tmp_path / "logs").iterdir()] == ["run"]
        assert run.run_file.stat().st_size == shim.HEAD_BYTES


def test_seeking_and_preallocating_are_refused_as_for_any_pipe(tmp_path: Path) -> None:
    script = (
        "import os, errno\n"
        "for act in (lambda: os.lseek(1, 0, 0), lambda: os.posix_fallocate(1, 0, 100), lambda: os.ftruncate(1, 0)):\n"
        "    try: act()\n"
        "    except OSError as e: print(errno.errorcode[e.errno], flush=True)\n"
    )
    with OneShim(tmp_path, ["python3", "-c", script]) as run:
        run.until("over")

        assert run.output() == b"ESPIPE\nESPIPE\nEINVAL\n"


def test_what_a_grandchild_writes_after_the_leader_arrives_before_the_run_is_over(tmp_path: Path) -> None:
    script = "mkfifo go; (read x < go; echo late) & echo early"
    with OneShim(tmp_path, ["sh", "-c", script], cwd=str(tmp_path)) as run:
        run.until("ended")
        until((tmp_path / "go").exists)
        (tmp_path / "go").write_text("x\n")
        run.until("over")

        assert run.output() == b"early\nlate\n"


def test_an_output_that_the_run_closes_delays_nothing(tmp_path: Path) -> None:
    with shell(tmp_path, "echo before; exec >&- 2>&-; true") as run:
        assert run.output() == b"before\n"


def test_thirty_megabytes_without_a_newline_arrive_whole(tmp_path: Path) -> None:
    size = 30 << 20
    with shell(tmp_path, f"head -c {size} /dev/zero | tr '\\0' x") as run:
        assert run.output() == b"x" * size
        assert run.report is not None
        assert run.report.written == (size, 0)


def test_a_file_keeps_its_newest_bytes_at_their_offsets(tmp_path: Path) -> None:
    keep, size = 256 * KIB, 8 << 20
    script = f"import sys\nfor n in range({size // 16}): sys.stdout.write(f'{{n:015}}\\n')"
    with OneShim(tmp_path, ["python3", "-c", script], log_bytes=keep) as run:
        run.until("over")

        found = (tmp_path / "logs" / "out.stdout").stat()
        assert found.st_size == size
        assert keep <= found.st_blocks * 512 <= keep * 1.2 + 64 * KIB
        assert run.output()[-keep:] == b"".join(b"%015d\n" % n for n in range((size - keep) // 16, size // 16))


def test_a_cleanup_goes_on_where_its_attempt_ended(tmp_path: Path) -> None:
    with shell(tmp_path, "echo attempt"):
        pass
    (tmp_path / "logs" / "run").unlink()
    with shell(tmp_path, "echo cleanup") as run:
        assert run.output() == b"attempt\ncleanup\n"
        assert run.report is not None
        assert run.report.written == (len(b"attempt\ncleanup\n"), 0)


def test_each_byte_has_its_second(tmp_path: Path) -> None:
    before = int(time.time())
    with OneShim(tmp_path, ["sh", "-c", "cat"], open_input=True) as run:
        run.send(shim.write(1, 0, b"first", end=False))
        until(lambda: run.output() == b"first")
        second = int(time.time())
        until(lambda: int(time.time()) > second)
        run.send(shim.write(2, 5, b"second", end=True))
        run.until("over")

        found = moments(run)
        assert [offsets for _, *offsets in found] == [[0, 0], [5, 0]]
        assert before <= found[0][0] <= second < found[1][0] <= int(time.time())


def test_a_full_disk_makes_only_its_own_run_wait_and_loses_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        (disk.path / "logs").mkdir()
        (disk.path / "logs" / "out.stdout").touch()
        disk.fill()
        with OneShim(disk.path, ["sh", "-c", "head -c 300000 /dev/zero; echo done"]) as run:
            waiting = run.until_report(lambda report: report.output_error)
            assert waiting.output_error == errno.ENOSPC
            assert waiting.alive

            disk.empty()
            over = run.until("over")

            assert (over.written[0], over.lost[0], over.output_error) == (300005, 0, 0)
            assert run.output() == bytes(300000) + b"done\n"


def test_a_run_on_a_full_disk_can_be_killed_and_what_is_lost_is_counted(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        (disk.path / "logs").mkdir()
        (disk.path / "logs" / "out.stdout").touch()
        disk.fill()
        with OneShim(disk.path, ["sh", "-c", "echo never; sleep 600"]) as run:
            run.until_report(lambda report: report.output_error)

            run.send(shim.kill())

            over = run.until("over")
            assert (over.written[0], over.lost[0]) == (0, len(b"never\n"))


def test_a_pipe_that_was_given_to_a_stranger_does_not_keep_the_run_from_its_end(tmp_path: Path) -> None:
    with OneShim(tmp_path, ["sh", "-c", "echo up; sleep 600"]) as run:
        pid = run.until("running").pid
        until(lambda: run.output() == b"up\n")
        theirs = os.open(f"/proc/{pid}/fd/1", os.O_WRONLY)
        try:
            run.send(shim.kill())

            assert run.until("over").written == (3, 0)
        finally:
            os.close(theirs)
