"""What farspawn promises on a real machine. Runs in it, as root, at each boot; the second comes after a hard reboot.

Each line on the console that begins with `check: ` is a verdict; the last of them is `check: all is well`, or not.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import re
import subprocess
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import farspawn
from farspawn import Cause, LimitKind, LimitUnsupportedError, LogStream, OomKill, Resources, TaskState

UNIT = "farspawnd"
SITE = "unix:/run/farspawn/farspawnd.sock"
STAGE = Path("/root/stage.json")
GO = Path("/run/go")
PATIENCE = timedelta(minutes=5)
UNTIL_GO = ["sh", "-c", f"while [ ! -e {GO} ]; do sleep 0.1; done; exit 7"]
FORKS = """
import os, signal
children = 0
try:
    while children < 60:
        if os.fork() == 0:
            signal.pause()
        children += 1
finally:
    print(children)
"""
EAT = "b = bytearray(500 << 20)"
MEBIBYTE = 1 << 20
MANY = 150


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


SYSTEMD = int(re.findall(r"\d+", said("systemctl", "--version"))[0])
HAS_LIMITS = SYSTEMD >= 254
site = farspawn.Client(SITE, timeout=timedelta(minutes=2), patience=PATIENCE)
failed: list[str] = []


def check(condition: Callable[[], None]) -> None:
    """Carry out one check, and say what came of it."""
    sentence = condition.__name__.replace("_", " ")
    began = time.monotonic()
    try:
        condition()
    except Exception:  # noqa: BLE001  # whatever is wrong with one, the others are still worth knowing
        traceback.print_exc()
        failed.append(sentence)
        print(f"check: NOT SO: {sentence}")
    else:
        print(f"check: {sentence} ({time.monotonic() - began:.1f} s)")


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE.total_seconds()
    while not condition():
        assert time.monotonic() < deadline, "it has never come to that"
        time.sleep(0.2)


def until_serving() -> None:
    def serves() -> bool:
        with suppress(farspawn.FarspawnError):
            return site.site().state is farspawn.SiteState.SERVING
        return False

    until(serves)


def run(argv: list[str], resources: Resources | None = None) -> tuple[farspawn.Outcome, str]:
    """Run a task to its end; return how it ended and what it wrote."""
    task = site.launch(argv, resources=resources)
    with suppress(farspawn.TaskError):
        task.wait(PATIENCE)
    assert task.outcome is not None
    return task.outcome, b"".join(chunk.data for chunk in task.logs()).decode()


def main_pid() -> int:
    return int(said("systemctl", "show", UNIT, "--property=MainPID", "--value"))


def python(body: str) -> list[str]:
    return ["python3", "-c", body]


# --- the agent as it is installed ------------------------------------------------------------------------------------


def the_owner_sees_the_site() -> None:
    until_serving()
    told = said("runuser", "-u", "farspawn", "--", "/opt/farspawn/bin/farspawn", "--site", SITE, "site")
    print(told)
    assert "serving" in told


def the_site_tells_which_limits_it_can_enforce() -> None:
    can = {LimitKind.MEMORY_BYTES, LimitKind.PROCESSES} & set(site.site().enforceable_limits)
    assert can == ({LimitKind.MEMORY_BYTES, LimitKind.PROCESSES} if HAS_LIMITS else set())


def a_memory_limit_holds_or_is_refused() -> None:
    limit = Resources(memory_bytes=60 * MEBIBYTE)
    if HAS_LIMITS:
        outcome, _ = run(python(EAT), limit)
        assert (outcome.signal, outcome.oom_kill) == (9, OomKill.YES), outcome
        outcome, _ = run(["sh", "-c", f"python3 -c '{EAT}'; exit 0"], limit)
        assert (outcome.exit_code, outcome.oom_kill) == (0, OomKill.YES), outcome
        outcome, _ = run(["sh", "-c", "kill -9 $$"], limit)
        assert (outcome.signal, outcome.oom_kill) == (9, OomKill.NO), outcome
    else:
        assert refused(limit) == "spec.resources.memory_bytes"


def a_limit_of_processes_holds_or_is_refused() -> None:
    limit = Resources(processes=20)
    if HAS_LIMITS:
        _, output = run(python(FORKS), limit)
        assert output == "19\n", output
    else:
        assert refused(limit) == "spec.resources.processes"


def refused(limit: Resources) -> str:
    try:
        site.launch(["true"], resources=limit)
    except LimitUnsupportedError as error:
        print(error)
        return error.metadata["field"]
    raise AssertionError("it was launched")


def a_ceiling_that_cannot_be_enforced_is_a_mistake_in_the_settings() -> None:
    config = Path("/root/ceilings.toml")
    config.write_text("[ceilings]\nmemory_bytes = 1_000_000_000\n")
    os.chmod("/root", 0o755)
    subgroup = ["--property=DelegateSubgroup=agent"] if HAS_LIMITS else []
    as_the_unit = ["systemd-run", "--wait", "--pipe", "--quiet", "--uid=farspawn", "--property=Delegate=yes", *subgroup]
    tried = subprocess.run(
        [*as_the_unit, "/opt/farspawn/bin/farspawnd", f"--config={config}", "--check-config"],
        capture_output=True,
        text=True,
        check=False,
    )
    print(tried.stderr)
    assert tried.returncode == (0 if HAS_LIMITS else 78), tried


def a_kill_by_the_limit_of_the_unit_is_told_too() -> None:
    subprocess.run(["systemctl", "set-property", "--runtime", UNIT, "MemoryMax=300M"], check=True)
    outcome, _ = run(python(EAT))
    subprocess.run(["systemctl", "set-property", "--runtime", UNIT, "MemoryMax=infinity"], check=True)
    assert outcome.signal == 9, outcome
    assert outcome.oom_kill is (OomKill.YES if HAS_LIMITS else OomKill.LIKELY), outcome


def a_task_is_born_in_a_group_of_its_own() -> None:
    _, output = run(["cat", "/proc/self/cgroup"])
    assert re.fullmatch(rf"0::/system\.slice/{UNIT}\.service/farspawn/[^/]+\n", output), output


def when_memory_is_short_tasks_go_first() -> None:
    assert run(["cat", "/proc/self/oom_score_adj"])[1] == "500\n"
    assert Path(f"/proc/{main_pid()}/oom_score_adj").read_text() == "0\n"


def a_task_has_the_limit_of_open_files_that_the_unit_says() -> None:
    assert run(["sh", "-c", "ulimit -Sn; ulimit -Hn"])[1] == "1024\n65536\n"


def outputs_can_be_opened_by_name() -> None:
    task = site.launch(
        ["sh", "-c", "cat /dev/stdin; echo one > /dev/stdout; echo two >> /dev/fd/1; echo three > /dev/stderr"],
        open_input=True,
    )
    task.write_input(b"zero\n")
    task.close_input()
    task.wait(PATIENCE)
    told = [b"".join(chunk.data for chunk in task.logs(stream)) for stream in (LogStream.STDOUT, LogStream.STDERR)]
    assert told == [b"zero\none\ntwo\n", b"three\n"], told


def after_a_kill_of_the_keeper_systemd_brings_it_back_and_the_exit_is_known() -> None:
    GO.unlink(missing_ok=True)
    task = site.launch(UNTIL_GO)
    before = main_pid()
    os.kill(before, 9)
    until(lambda: main_pid() not in (0, before))
    until_serving()
    GO.touch()
    assert task.wait(PATIENCE) == 7


def after_a_kill_of_keeper_and_server_too() -> None:
    GO.unlink(missing_ok=True)
    task = site.launch(UNTIL_GO)
    before = main_pid()
    server = [int(each) for each in said("pgrep", "--parent", str(before), "--full", "farspawn_server.rpc").split()]
    for pid in (before, *server):
        os.kill(pid, 9)
    until(lambda: main_pid() not in (0, before))
    until_serving()
    GO.touch()
    assert task.wait(PATIENCE) == 7


def a_reload_keeps_the_tasks_and_the_pid() -> None:
    GO.unlink(missing_ok=True)
    task, before = site.launch(UNTIL_GO), main_pid()
    subprocess.run(["systemctl", "reload", UNIT], check=True)
    until_serving()
    assert main_pid() == before
    GO.touch()
    assert task.wait(PATIENCE) == 7


# --- an agent of root's, with a user for tasks, and few descriptors --------------------------------------------------


def become_roots() -> None:
    subprocess.run(["useradd", "--system", "--groups", "video", "farspawn-task"], check=True)
    dropin = Path(f"/etc/systemd/system/{UNIT}.service.d/root.conf")
    dropin.parent.mkdir(exist_ok=True)
    dropin.write_text("[Service]\nUser=root\nLimitNOFILE=100:150\n")
    config = Path("/etc/farspawn/site.toml")
    config.write_text(config.read_text().replace("[policy]", '[policy]\nuser = "farspawn-task"', 1))
    subprocess.run(["systemctl", "stop", UNIT], check=True)
    subprocess.run(["chown", "-R", "root:root", "/var/lib/farspawn"], check=True)
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    subprocess.run(["systemctl", "start", UNIT], check=True)
    until_serving()


def a_task_is_of_its_user_and_no_other() -> None:
    _, output = run(["sh", "-c", "id -un; id -Gn"])
    assert output == "farspawn-task\nfarspawn-task video\n", output


def a_user_cannot_lift_the_limits_of_its_task() -> None:
    body = "cd /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup) && cat cgroup.type && find . -writable"
    outcome, output = run(["sh", "-c", body])
    assert (outcome.exit_code, output) == (0, "domain\n"), output


def each_task_has_a_session_keyring_of_its_own() -> None:
    # keyctl(2): KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING; made if there is none.
    body = "import ctypes; print(ctypes.CDLL(None).syscall(250, 0, ctypes.c_long(-3), 1))"
    keyrings = {run(python(body))[1] for _ in range(2)}
    own = ctypes.CDLL(None).syscall(250, 0, ctypes.c_long(-3), 0)
    assert len(keyrings) == 2, keyrings
    assert all(int(each) > 0 for each in keyrings), keyrings
    assert f"{own}\n" not in keyrings


def a_limit_of_processes_is_at_least_one_of_the_user() -> None:
    kinds = set(site.site().enforceable_limits)
    assert (LimitKind.PROCESSES if HAS_LIMITS else LimitKind.USER_PROCESSES) in kinds


def without_descriptors_only_the_new_launch_fails() -> None:
    tasks = [site.launch(["sleep", "3600"]) for _ in range(MANY)]
    failures = [task.outcome.launch_failure for task in tasks if task.outcome is not None]
    alive = [task for task in tasks if task.outcome is None]
    print(len(alive), "run,", len(failures), "failed")
    assert failures
    assert {each.error_number for each in failures if each is not None} == {errno.EMFILE}
    for task in alive:
        task.stop()
    assert {task.wait(PATIENCE) for task in alive} == {-15}
    assert run(["true"])[0].exit_code == 0


# --- a reboot --------------------------------------------------------------------------------------------------------


def after_a_hard_reboot_the_task_is_lost_and_nothing_else(task_id: str) -> None:
    until_serving()
    (status,) = site.poll([task_id]).statuses
    assert status.state is TaskState.LOST, status
    assert status.outcome is not None
    assert status.outcome.cause is Cause.HOST_REBOOTED, status
    assert run(["true"])[0].exit_code == 0


def reset() -> None:
    """Reboot as a power cut does; what was told must be on the disk by then."""
    task = site.launch(["sleep", "3600"])
    with STAGE.open("w") as file:
        json.dump({"task": task.task_id, "failed": failed}, file)
        file.flush()
        os.fsync(file.fileno())
    Path("/proc/sysrq-trigger").write_text("b")
    time.sleep(60)


def main() -> None:
    if STAGE.exists():
        stage = json.loads(STAGE.read_text())
        failed.extend(stage["failed"])

        def after_a_hard_reboot_the_task_is_lost() -> None:
            after_a_hard_reboot_the_task_is_lost_and_nothing_else(stage["task"])

        check(after_a_hard_reboot_the_task_is_lost)
        print(f"check: not all is well: {len(failed)}" if failed else "check: all is well")
        subprocess.run(["systemctl", "poweroff", "--force"], check=False)
        return
    print(f"check: Linux {os.uname().release}, systemd {SYSTEMD}")
    for each in (
        the_owner_sees_the_site,
        the_site_tells_which_limits_it_can_enforce,
        a_memory_limit_holds_or_is_refused,
        a_limit_of_processes_holds_or_is_refused,
        a_ceiling_that_cannot_be_enforced_is_a_mistake_in_the_settings,
        a_kill_by_the_limit_of_the_unit_is_told_too,
        a_task_is_born_in_a_group_of_its_own,
        when_memory_is_short_tasks_go_first,
        a_task_has_the_limit_of_open_files_that_the_unit_says,
        outputs_can_be_opened_by_name,
        after_a_kill_of_the_keeper_systemd_brings_it_back_and_the_exit_is_known,
        after_a_kill_of_keeper_and_server_too,
        a_reload_keeps_the_tasks_and_the_pid,
        become_roots,
        a_task_is_of_its_user_and_no_other,
        a_user_cannot_lift_the_limits_of_its_task,
        a_memory_limit_holds_or_is_refused,
        a_limit_of_processes_is_at_least_one_of_the_user,
        each_task_has_a_session_keyring_of_its_own,
        outputs_can_be_opened_by_name,
        after_a_kill_of_the_keeper_systemd_brings_it_back_and_the_exit_is_known,
        without_descriptors_only_the_new_launch_fails,
    ):
        check(each)
    reset()


if __name__ == "__main__":
    main()
