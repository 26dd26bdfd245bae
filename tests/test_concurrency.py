"""Several at once, and one cut off in the middle: whatever happens, `current` is whole."""

import contextlib
import fcntl
import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from tests.lab import FIRST, Finished, Lab, clean_environment, kill, sh, start_of, wait_until

Process = subprocess.Popen[str]
T = TypeVar("T")
SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


def descendants(pid: int) -> list[int]:
    """The processes below one, by /proc."""
    parents: dict[int, int] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            parents[int(name)] = int(Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for known in found:
        found += [child for child, parent in parents.items() if parent == known]
    return found[1:]


def is_running(pid: int) -> bool:
    """Whether the process is there, and not merely waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def mounted_somewhere(text: str) -> bool:
    """Whether any process's list of mounts has this in it."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if text in Path(f"/proc/{name}/mountinfo").read_text():
                return True
    return False


class Sessions:
    """Open sessions, that are killed at the end of a test."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._processes: list[Process] = []

    def open(self, go: str = "/home/go") -> tuple[Process, str]:
        """A session that waits, and its generation."""
        before = self.lab.generations
        process = self.lab.start_waiting(go)
        self._processes.append(process)
        (made,) = self.lab.generations - before
        return process, made

    def start(self, script: str, first_line: str = "") -> Process:
        """A session that runs a script; waits for what it says first."""
        process = self.lab.start("run", "--", "sh", "-ec", script)
        self._processes.append(process)
        if first_line:
            assert process.stdout is not None
            assert process.stdout.readline() == f"{first_line}\n"
        return process

    def close(self) -> None:
        for process in self._processes:
            if process.returncode is None:
                kill(process)


@pytest.fixture
def sessions(lab: Lab) -> Iterator[Sessions]:
    made = Sessions(lab)
    yield made
    made.close()


# -- at once -----------------------------------------------------------------------------------------


def test_of_two_sessions_at_once_the_first_publishes_and_the_second_can_be_activated(
    lab: Lab, sessions: Sessions
) -> None:
    first, one = sessions.open("/home/go-one")
    second, two = sessions.open("/home/go-two")
    status, said = lab.finish(second, "/home/go-two")
    assert status == 0, said
    assert lab.slots == [two, FIRST, FIRST, FIRST]
    status, said = lab.finish(first, "/home/go-one")
    assert status == 75
    assert f"generation {one} is sealed and kept" in said
    assert f"sysmut activate {one}" in said
    assert lab.slots == [two, FIRST, FIRST, FIRST]
    assert lab.is_sealed(one)
    assert (lab.root(one) / "waited").exists()
    assert lab.sysmut("activate", one).returncode == 0
    assert lab.slots == [one, two, FIRST, FIRST]
    assert lab.syscln().returncode == 0
    assert lab.generations == {one, two, FIRST}


def test_an_overtaken_session_is_named_in_json_too(lab: Lab) -> None:
    go = lab.top / "commons/@home/go"
    process = lab.start("run", "--json", "--", "sh", "-ec", "echo waiting >&2; until [ -e /home/go ]; do :; done")
    try:
        assert process.stderr is not None
        assert process.stderr.readline() == "waiting\n"
        (one,) = lab.generations - {FIRST}
        lab.session("true")
        go.touch()
        told = json.loads(process.communicate(timeout=60)[0])
    finally:
        kill(process)
    assert process.returncode == 75
    assert told["error"]["status"] == 75
    assert one in told["error"]["message"]


def test_one_that_was_overtaken_and_not_activated_goes_with_the_next_syscln(lab: Lab, sessions: Sessions) -> None:
    process, one = sessions.open()
    lab.session("true")
    assert lab.finish(process)[0] == 75
    assert one in lab.generations
    assert lab.syscln().returncode == 0
    assert one not in lab.generations


def test_of_eight_sessions_at_once_exactly_one_is_published(lab: Lab, sessions: Sessions) -> None:
    opened = [sessions.open() for _ in range(8)]
    names = {name for _, name in opened}
    (lab.top / "commons/@home/go").touch()
    statuses = {name: lab.finish(process)[0] for process, name in opened}
    assert sorted(statuses.values()) == [0] + [75] * 7
    (published,) = [name for name, status in statuses.items() if status == 0]
    assert lab.slots == [published, FIRST, FIRST, FIRST]
    assert lab.generations == names | {FIRST}
    assert all(lab.is_sealed(name) for name in names)
    assert lab.syscln().returncode == 0
    assert lab.generations == {published, FIRST}
    assert len(lab.link_sets) == 1


def test_sessions_that_start_at_once_get_generations_of_their_own(lab: Lab, sessions: Sessions) -> None:
    processes = [sessions.start("exit 3") for _ in range(8)]
    assert [process.wait(timeout=60) for process in processes] == [3] * 8
    for process in processes:
        process.communicate()
    assert lab.generations == {FIRST}


def test_syscln_never_touches_the_generation_of_an_open_session(lab: Lab, sessions: Sessions) -> None:
    process, opened = sessions.open()
    for number in range(50):
        lab.add_generation(f"20250101{number:06}Garbaged")
        done = lab.syscln()
        assert done.returncode == 0, done.stderr
        assert lab.generations == {FIRST, opened}
    assert (lab.root(opened) / "waited").exists()
    status, said = lab.finish(process)
    assert status == 0, said
    assert lab.slots[0] == opened


def test_syscln_and_sessions_at_once_lose_nothing(lab: Lab, sessions: Sessions) -> None:
    with always(lambda: lab.syscln().returncode) as statuses:
        processes = [sessions.start("sleep 0.0$((RANDOM % 9))") for _ in range(10)]
        for process in processes:
            said = process.communicate(timeout=60)[1]
            assert process.returncode in (0, 75), said
    assert set(statuses) == {0}
    assert 0 in {process.returncode for process in processes}
    assert all((lab.root(name) / "bin/busybox").exists() and lab.is_sealed(name) for name in lab.slots)


@contextlib.contextmanager
def always(action: Callable[[], T]) -> Iterator[list[T]]:
    """Do something again and again, in a thread, while the context lasts; the results."""
    results: list[T] = []
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            results.append(action())

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield results
    finally:
        stop.set()
        thread.join()


def test_whoever_reads_current_sees_a_whole_link_set_at_every_moment(lab: Lab, sessions: Sessions) -> None:
    def look() -> list[str] | None:
        """What the slots are, or None where `current` changed while they were read."""
        text = os.readlink(lab.top / "current")
        try:
            names = sorted(os.listdir(lab.top / text))
            found = [Path(os.readlink(lab.top / text / name)).name for name in names]
            whole = names == list("0123") and all((lab.root(name) / "bin/busybox").exists() for name in found)
        except FileNotFoundError:
            whole = False
        if os.readlink(lab.top / "current") != text:
            return None
        assert whole, text
        return found

    with always(look) as seen:
        for _ in range(5):
            pair = [sessions.start("true"), sessions.start("true")]
            assert {process.wait(timeout=60) for process in pair} <= {0, 75}
            for process in pair:
                process.communicate()
            assert lab.syscln().returncode == 0
            assert lab.sysmut("activate", "1").returncode == 0
    assert len({tuple(found) for found in seen if found}) >= 10


def test_an_activation_overtakes_an_open_session(lab: Lab, sessions: Sessions) -> None:
    lab.session("true")
    process, opened = sessions.open()
    assert lab.sysmut("activate", FIRST).returncode == 0
    slots = lab.slots
    status, said = lab.finish(process)
    assert status == 75
    assert opened in said
    assert lab.slots == slots


def test_an_activation_that_changes_nothing_overtakes_no_session(lab: Lab, sessions: Sessions) -> None:
    process, opened = sessions.open()
    assert lab.sysmut("activate", FIRST).returncode == 0
    assert lab.finish(process)[0] == 0
    assert lab.slots[0] == opened


# -- cut off -----------------------------------------------------------------------------------------


def test_of_a_killed_session_nothing_is_left_that_syscln_does_not_collect(lab: Lab, sessions: Sessions) -> None:
    before = lab.picture()
    process, opened = sessions.open()
    below = descendants(process.pid)
    assert len(below) >= 2
    kill(process)
    wait_until(lambda: not any(map(is_running, below)))
    wait_until(lambda: not mounted_somewhere(opened))
    assert lab.picture()["current"] == before["current"]
    assert not lab.is_sealed(opened)
    assert lab.syscln().returncode == 0
    assert lab.picture() == before
    lab.session("true")


def test_processes_that_leave_their_session_and_group_die_with_a_killed_sysmut(lab: Lab, sessions: Sessions) -> None:
    script = "(trap '' HUP TERM INT; setsid sh -c 'trap \"\" HUP TERM; echo waiting; while :; do sleep 1; done') & wait"
    process = sessions.start(script, "waiting")
    below = descendants(process.pid)
    assert len(below) >= 3
    kill(process)
    wait_until(lambda: not any(map(is_running, below)))


def test_a_killed_session_on_an_image_leaves_no_loop_device(lab: Lab) -> None:
    before = lab.picture()
    lab.close()
    image = str(lab.image)
    command = [*start_of("sysmut"), "--image", image, "run", "--", "sh", "-c", "echo waiting; sleep 100"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=clean_environment())
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        below = descendants(process.pid)
        assert image in sh("losetup", "-a")
    finally:
        kill(process)
    wait_until(lambda: not any(map(is_running, below)))
    wait_until(lambda: image not in sh("losetup", "-a"))
    done = subprocess.run(
        [*start_of("syscln"), "--image", image], check=True, capture_output=True, text=True, env=clean_environment()
    )
    assert done.stderr == "deleted 1 generation\n"
    sh("mount", "-o", "loop", image, lab.top)
    assert lab.picture() == before


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_during_the_script_discards_the_session_and_is_the_status(
    lab: Lab, sessions: Sessions, number: signal.Signals
) -> None:
    before = lab.picture()
    process, opened = sessions.open()
    below = descendants(process.pid)
    assert kill(process, number) == 128 + number
    assert lab.picture() == before
    assert not any(map(is_running, below))
    assert not mounted_somewhere(opened)


def test_a_script_that_ignores_the_signal_is_ended_by_a_second_one(lab: Lab, sessions: Sessions) -> None:
    before = lab.picture()
    script = "trap 'echo asked' TERM; echo waiting; while :; do sleep 0.01; done"
    process = sessions.start(script, "waiting")
    below = descendants(process.pid)
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None
    assert process.stdout.readline() == "asked\n"
    assert kill(process, signal.SIGTERM) == 143
    assert lab.picture() == before
    assert not any(map(is_running, below))


def test_a_signal_at_any_moment_of_the_beginning_discards_the_session(lab: Lab, sessions: Sessions) -> None:
    before = lab.picture()
    for depth in (0, 1, 1, 2, 2):
        process = sessions.start("sleep 100")
        wait_until(lambda p=process, d=depth: lab.picture() != before and len(descendants(p.pid)) >= d)
        assert kill(process, signal.SIGTERM) == 143
        assert lab.picture() == before


@contextlib.contextmanager
def lock_held(lab: Lab) -> Iterator[None]:
    """Somebody else holds the lock."""
    fd = os.open(lab.top / "links", os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def waits_for_the_lock(process: Process) -> bool:
    """Whether it has `links` open."""
    with contextlib.suppress(OSError):
        links = os.listdir(f"/proc/{process.pid}/fd")
        return any(os.readlink(f"/proc/{process.pid}/fd/{fd}").endswith("/links") for fd in links)
    return False


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_while_it_waits_to_begin_leaves_nothing(lab: Lab, sessions: Sessions, number: signal.Signals) -> None:
    before = lab.picture()
    with lock_held(lab):
        process = sessions.start("true")
        wait_until(lambda: waits_for_the_lock(process))
        assert kill(process, number) == 128 + number
    assert lab.picture() == before


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_while_it_waits_to_publish_discards_the_session(
    lab: Lab, sessions: Sessions, number: signal.Signals
) -> None:
    before = lab.picture()
    process, _ = sessions.open()
    with lock_held(lab):
        (lab.top / "commons/@home/go").touch()
        wait_until(lambda: waits_for_the_lock(process))
        assert kill(process, number) == 128 + number
    assert lab.picture() == before


def test_a_session_that_is_killed_while_it_waits_to_publish_is_collected(lab: Lab, sessions: Sessions) -> None:
    before = lab.picture()
    process, opened = sessions.open()
    with lock_held(lab):
        (lab.top / "commons/@home/go").touch()
        wait_until(lambda: waits_for_the_lock(process))
        kill(process)
    assert lab.is_sealed(opened)
    assert lab.syscln().returncode == 0
    assert lab.picture() == before


def test_whoever_waits_for_the_lock_goes_on_when_its_holder_dies(lab: Lab, sessions: Sessions) -> None:
    holder = subprocess.Popen(
        ["flock", str(lab.top / "links"), "sh", "-c", "echo held; exec cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        process = sessions.start("true")
        wait_until(lambda: waits_for_the_lock(process))
    finally:
        for pid in descendants(holder.pid):
            os.kill(pid, signal.SIGKILL)
        kill(holder)
    assert process.wait(timeout=30) == 0
    process.communicate()
    assert lab.slots[0] != FIRST


# -- activate and rollback ---------------------------------------------------------------------------


@pytest.fixture
def three(lab: Lab) -> tuple[Lab, str, str, str]:
    """A lab with the slots C, B, A, A; and the names A, B, C."""
    lab.session("echo b >/etc/name")
    lab.session("echo c >/etc/name")
    c, b, *rest = lab.slots
    assert rest == [FIRST, FIRST]
    return lab, FIRST, b, c


def succeed(done: Finished) -> str:
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_activation_keeps_order_without_repeats_and_doing_it_twice_changes_nothing(
    three: tuple[Lab, str, str, str],
) -> None:
    lab, a, b, c = three
    assert f"generation {a} is slot 0 now" in succeed(lab.sysmut("activate", a))
    assert lab.slots == [a, c, b, b]
    before = lab.picture()
    assert "nothing to do" in succeed(lab.sysmut("activate", a))
    assert lab.picture() == before
    succeed(lab.sysmut("activate", "2"))
    assert lab.slots == [b, a, c, c]


@pytest.mark.parametrize("verb", ["activate", "rollback"])
def test_a_generation_is_named_by_slot_id_prefix_or_pin(three: tuple[Lab, str, str, str], verb: str) -> None:
    lab, a, b, _ = three
    (lab.top / "pins").mkdir()
    (lab.top / "pins/good").symlink_to(f"../snapshots/{b}")
    succeed(lab.sysmut(verb, "2"))
    assert lab.slots[0] == a
    succeed(lab.sysmut(verb, "good"))
    assert lab.slots[0] == b
    succeed(lab.sysmut(verb, a[:-1]))
    assert lab.slots[0] == a


@pytest.mark.parametrize("verb", ["activate", "rollback"])
def test_a_dry_run_tells_the_slots_and_changes_nothing(three: tuple[Lab, str, str, str], verb: str) -> None:
    lab, a, b, c = three
    before = lab.picture()
    said = succeed(lab.sysmut(verb, "-n", b))
    assert f"{b} would be slot 0" in said
    assert re.findall(r"^ +(\d)  (\w+)", said, re.MULTILINE) == [("0", b), ("1", c), ("2", a), ("3", a)]
    current = lab.json("status")["current"]
    told = {"version": 1, "changed": True, "dry_run": True, "slots": [b, c, a, a], "warnings": []}
    preview = lab.json(verb, b, "-n")
    impact = preview["impact"]
    assert (impact["before"], impact["after"]) == (c, b)
    assert preview == {**told, "current": current, "impact": impact}
    assert lab.picture() == before
    done = lab.json(verb, b)
    assert done == {**told, "dry_run": False, "current": lab.json("status")["current"], "impact": impact}
    assert done["current"] != current
    assert lab.json(verb, b) == {**done, "changed": False, "impact": None}


def test_a_rollback_goes_one_back_and_once_only(three: tuple[Lab, str, str, str]) -> None:
    lab, a, b, c = three
    succeed(lab.sysmut("rollback"))
    assert lab.slots == [b, c, a, a]
    before = lab.picture()
    assert "nothing to do" in succeed(lab.sysmut("rollback"))
    assert lab.picture() == before
    assert lab.json("rollback")["changed"] is False


def test_after_a_rollback_a_new_session_can_be_rolled_back_too(three: tuple[Lab, str, str, str]) -> None:
    lab, a, b, c = three
    succeed(lab.sysmut("rollback"))
    lab.session("grep b /etc/name; echo d >/etc/name")
    d = lab.slots[0]
    assert lab.slots == [d, b, c, a]
    succeed(lab.sysmut("rollback"))
    assert lab.slots == [b, d, c, a]


def test_a_rollback_of_a_rollback_is_made_by_name(three: tuple[Lab, str, str, str]) -> None:
    lab, a, b, c = three
    succeed(lab.sysmut("rollback"))
    succeed(lab.sysmut("rollback", c))
    assert lab.slots == [c, b, a, a]


def test_with_one_generation_there_is_nothing_to_roll_back_to(lab: Lab) -> None:
    before = lab.picture()
    assert "nothing to do" in succeed(lab.sysmut("rollback"))
    assert lab.picture() == before


def test_a_rollback_leaves_a_slot_0_that_has_lost_its_root(three: tuple[Lab, str, str, str]) -> None:
    lab, _, b, c = three
    sh("btrfs", "subvolume", "delete", lab.root(c))
    succeed(lab.sysmut("rollback"))
    assert lab.slots[0] == b


def test_a_rollback_leaves_a_slot_0_that_leads_nowhere(three: tuple[Lab, str, str, str]) -> None:
    lab, a, b, c = three
    sh("btrfs", "subvolume", "delete", lab.root(c))
    sh("rm", "-r", lab.root(c).parent)
    succeed(lab.sysmut("rollback"))
    assert lab.slots == [b, a, a, a]


def booted_from(lab: Lab, generation: str, *arguments: str) -> Finished:
    """sysmut where the running system's root is this generation: the last mount on `/` is of it."""
    script = 'mount --bind "$0" /; exec "$@"'
    return subprocess.run(
        ["unshare", "--mount", "sh", "-ec", script, str(lab.root(generation)), *lab.command("sysmut", *arguments)],
        check=False, capture_output=True, text=True, timeout=60, env=clean_environment(), stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_where_a_fallback_is_booted_a_rollback_goes_to_it(three: tuple[Lab, str, str, str]) -> None:
    lab, a, b, c = three
    said = succeed(booted_from(lab, a, "rollback"))
    assert lab.slots == [a, c, b, b]
    assert "reboot" not in said
    assert "nothing to do" in succeed(booted_from(lab, a, "rollback"))


def test_the_booted_generation_is_called_so(three: tuple[Lab, str, str, str]) -> None:
    lab, a, b, c = three
    told = json.loads(succeed_with_output(booted_from(lab, b, "status", "--json")))
    assert told["booted"] == b
    succeed(booted_from(lab, b, "activate", "booted"))
    assert lab.slots == [b, c, a, a]


def succeed_with_output(done: Finished) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("verb", ["activate", "rollback"])
def test_what_is_not_sealed_or_not_whole_is_refused(lab: Lab, verb: str) -> None:
    half, rootless, foreign = (f"2025010100000{n}AbCdEfGh" for n in range(3))
    lab.add_generation(half, sealed=False)
    (lab.top / "snapshots" / rootless).mkdir()
    with_other_fstab = lab.add_generation(foreign, sealed=False)
    (with_other_fstab / "etc/fstab").write_text((lab.root(FIRST) / "etc/fstab").read_text())
    lab.seal(foreign)
    before = lab.picture()
    for name in (half, rootless, foreign):
        done = lab.sysmut(verb, name)
        assert done.returncode == 65, done.stderr
        assert name in done.stderr
    assert lab.picture() == before
