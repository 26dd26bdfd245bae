"""A session, from snapshot to published or discarded, on a real btrfs."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab import FIRST, Lab, clean_environment, kill, sh


def test_a_session_publishes_a_sealed_generation_as_slot_0(lab: Lab) -> None:
    done = lab.session("echo changed >/etc/new")
    new = lab.slots[0]
    assert lab.slots == [new, FIRST, FIRST, FIRST]
    assert lab.is_sealed(new)
    assert (lab.root(new) / "etc/new").read_text() == "changed\n"
    assert not (lab.root(FIRST) / "etc/new").exists()
    assert f"subvol=/snapshots/{new}/@" in (lab.root(new) / "etc/fstab").read_text()
    assert f"generation {new} is slot 0 now" in done.stderr


@pytest.mark.parametrize(("script", "status"), [("exit 1", 1), ("exit 64", 64), ("kill -9 $$", 137)])
def test_a_script_that_fails_changes_nothing_and_its_status_passes_through(lab: Lab, script: str, status: int) -> None:
    before = lab.picture()
    lab.session(f"echo changed >/etc/new; {script}", status=status)
    assert lab.picture() == before


def test_a_script_without_an_interpreter_line_stops_at_the_first_error(lab: Lab, tmp_path: Path) -> None:
    script = tmp_path / "upgrade"
    script.write_text("false\necho went on >/etc/new\n")
    before = lab.picture()
    assert lab.sysmut("--script", script).returncode == 1
    assert lab.picture() == before


def test_the_record_and_the_log_beside_the_root_are_readable_by_root_alone(lab: Lab) -> None:
    lab.session("echo hello; echo problem >&2", "--description", "a test")
    directory = lab.top / "snapshots" / lab.slots[0]
    record = json.loads((directory / "sysmut.json").read_text())
    assert (record["source"], record["description"]) == (FIRST, "a test")
    assert sorted((directory / "sysmut.log").read_text().splitlines()) == ["hello", "problem"]
    for name in ("sysmut.json", "sysmut.log"):
        assert os.stat(directory / name).st_mode & 0o777 == 0o600


def test_a_script_runs_by_the_interpreter_of_its_first_line_and_is_not_written_into_the_generation(
    lab: Lab, tmp_path: Path
) -> None:
    script = tmp_path / "my upgrade.awk"
    script.write_text('#!/bin/awk -f\nBEGIN { print ARGV[0] > "/etc/ran" }\n')
    assert lab.sysmut("--script", script).returncode == 0
    root = lab.root(lab.slots[0])
    assert (root / "etc/ran").read_text() == "awk\n"
    assert list(root.rglob("*upgrade*")) == []
    assert list((root / "run").iterdir()) == []


def test_a_program_that_is_no_text_can_be_the_script(lab: Lab) -> None:
    assert lab.sysmut("--script", lab.root(FIRST) / "bin/busybox", "--description", "x").returncode == 0
    assert lab.slots[0] != FIRST


def test_a_script_from_standard_input_reads_none_itself(lab: Lab) -> None:
    done = lab.sysmut("--script", "-", input="cat >/etc/read\necho name $0\n")
    assert done.returncode == 0
    assert done.stdout == "name /run/session/-\n"
    assert (lab.root(lab.slots[0]) / "etc/read").read_text() == ""


def test_a_session_has_a_clean_environment_and_is_told_what_it_is(lab: Lab) -> None:
    done = lab.session(
        "env",
        "--environment",
        "PROXY",
        "--environment",
        "NOT_SET",
        environment={"PROXY": "p", "SECRET": "s", "LD_PRELOAD": "", "TERM": "dumb"},
    )
    seen = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert seen.pop("PATH").startswith("/usr/local/sbin:")
    assert seen == {
        "HOME": "/root",
        "LOGNAME": "root",
        "PROXY": "p",
        "PWD": "/",
        "SHELL": "/bin/sh",
        "SYSMUT_GENERATION": lab.slots[0],
        "SYSMUT_SLOT": "0",
        "SYSMUT_SOURCE": FIRST,
        "TERM": "dumb",
        "USER": "root",
    } | ({"SHLVL": seen["SHLVL"]} if "SHLVL" in seen else {})


def test_a_session_has_its_usual_signals_and_no_open_files_of_sysmuts(lab: Lab) -> None:
    done = lab.session("grep -E '^Sig(Blk|Ign)' /proc/self/status; ls -l /proc/self/fd | wc -l")
    *masks, count = done.stdout.split()[1::2] + [done.stdout.splitlines()[-1]]
    assert {int(mask, 16) for mask in masks[:2]} == {0}
    assert int(count) <= 5  # a line for the total, 0, 1, 2, and the directory itself


def test_a_caller_that_ignores_its_children_and_holds_signals_back_is_no_hindrance(lab: Lab) -> None:
    code = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n"
        "os.execvp(sys.argv[1], sys.argv[1:])\n"
    )
    start = [sys.executable, "-c", code, *lab.command("sysmut", "run", "--")]
    done = subprocess.run([*start, "sh", "-c", "exit 5"], check=False, env=clean_environment(), timeout=60)
    assert done.returncode == 5
    command = [*start, "sh", "-c", "echo ready; sleep 1000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=clean_environment()) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert kill(process, signal.SIGTERM) == 128 + signal.SIGTERM
    assert lab.generations == {FIRST}


def test_output_is_shown_where_it_belongs_and_kept_whole(lab: Lab) -> None:
    done = lab.session("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; echo end >&2")
    lines = [f"line {number}" for number in range(20000)]
    assert done.stdout.splitlines() == lines
    assert done.stderr.splitlines()[0] == "end"
    log = (lab.top / "snapshots" / lab.slots[0] / "sysmut.log").read_text()
    assert log.replace("end\n", "", 1).splitlines() == lines


def test_under_json_standard_output_is_one_value_and_says_whose_a_failure_was(lab: Lab) -> None:
    done = lab.sysmut("run", "--json", "--", "echo", "hello")
    told = json.loads(done.stdout)
    assert (told["outcome"], told["generation"], told["source"]) == ("published", lab.slots[0], FIRST)
    assert told["slots"] == lab.slots
    assert told["current"] == lab.json("status")["current"]
    assert "hello" in done.stderr
    done = lab.sysmut("run", "--json", "--", "sh", "-c", "exit 75")
    told = json.loads(done.stdout)["error"]
    assert (done.returncode, told["status"], told["origin"]) == (75, 75, "script")
    done = lab.sysmut("run", "9", "--json", "--", "true")
    told = json.loads(done.stdout)["error"]
    assert (done.returncode, told["status"], told["origin"]) == (64, 64, "sysmut")


def test_a_script_that_takes_too_long_is_asked_to_end_and_its_generation_discarded(lab: Lab) -> None:
    before = lab.picture()
    done = lab.session("trap 'echo asked; exit 0' TERM; sleep 1000 & wait", "--timeout", "0.5", status=124)
    assert done.stdout == "asked\n"
    assert "timed out after 0.5 s" in done.stderr
    assert lab.picture() == before


def test_a_script_that_ignores_being_asked_is_killed(lab: Lab) -> None:
    before = lab.picture()
    lab.session("trap '' TERM HUP INT; echo $$; while :; do sleep 1; done", "--timeout", "0.3", status=124)
    assert lab.picture() == before


def test_an_unchanged_generation_is_dropped_if_so_asked(lab: Lab) -> None:
    before = lab.picture()
    done = lab.session("cat /etc/passwd; touch /etc/x; rm /etc/x; touch /etc/passwd", "--drop-if-unchanged")
    assert "nothing changed" in done.stderr
    assert lab.picture() == before
    assert json.loads(lab.session(":", "--drop-if-unchanged", "--json").stdout)["outcome"] == "unchanged"
    lab.session(":")
    assert lab.slots[0] != FIRST


@pytest.mark.parametrize(
    "change",
    [
        "echo x >/etc/passwd",
        "chmod 600 /etc/passwd",
        "chown 1 /etc/passwd",
        "mkdir /etc/new",
        "rm /etc/os-release",
        "ln -sf other /bin/ls",
        "rm /etc/os-release; mkdir /etc/os-release",
        "chmod 700 /etc",
        "cp /etc/passwd /p; sed s/r/R/ /p >/etc/passwd; touch -r /p /etc/passwd; rm /p",
    ],
)
def test_whatever_changed_is_seen(lab: Lab, change: str) -> None:
    lab.session(change, "--drop-if-unchanged")
    assert lab.slots[0] != FIRST


def test_a_failed_generation_can_be_kept_for_inspection_until_syscln(lab: Lab) -> None:
    done = lab.session("echo x >/etc/evidence; exit 3", "--keep-failed", status=3)
    (kept,) = lab.generations - {FIRST}
    assert kept in done.stderr
    assert (lab.root(kept) / "etc/evidence").exists()
    assert lab.slots == [FIRST] * 4
    assert lab.syscln().returncode == 0
    assert lab.generations == {FIRST}


def test_what_fstab_names_is_mounted_and_nothing_else_and_the_host_sees_none_of_it(lab: Lab) -> None:
    lab.template += f"UUID={lab.uuid} /top btrfs subvolid=5 0 0\n/dev/nowhere /boot/efi vfat defaults 0 2\n"
    lab.template += "tmpfs /scratch tmpfs noauto 0 0\n"
    before = Path("/proc/self/mountinfo").read_text()
    done = lab.session("cut -d' ' -f2 /proc/mounts; echo kept >/home/file; echo lost >/tmp/file", "-v")
    assert done.stdout.split() == [
        *["/", "/proc", "/proc/sys"],
        *(["/proc/sysrq-trigger"] if os.path.exists("/proc/sysrq-trigger") else []),
        *["/sys", "/dev"],
        *(["/dev/pts"] if os.path.ismount("/dev/pts") else []),
        *["/dev/shm", "/run", "/home", "/tmp", "/etc/resolv.conf"],
    ]
    assert "not mounted in the session: /boot/efi" in done.stderr
    assert "not mounted in the session: /top" in done.stderr
    assert Path("/proc/self/mountinfo").read_text() == before
    root = lab.root(lab.slots[0])
    assert (lab.top / "commons/@home/file").read_text() == "kept\n"
    assert [list((root / name).iterdir()) for name in ("home", "tmp", "proc", "dev")] == [[]] * 4
    assert (root / "boot/efi").is_dir()


def test_the_resolver_file_is_seen_and_leaves_nothing(lab: Lab, tmp_path: Path) -> None:
    mine = tmp_path / "resolv.conf"
    mine.write_text("nameserver 192.0.2.1\n")
    done = lab.session("cat /etc/resolv.conf", "--resolver", str(mine))
    assert done.stdout == mine.read_text()
    assert not (lab.root(lab.slots[0]) / "etc/resolv.conf").exists()
    lab.session("! cat /etc/resolv.conf", "--resolver", "")
    with lab.unsealed(FIRST) as root:
        (root / "etc/resolv.conf").symlink_to("/tmp/resolv.conf")
    lab.sysmut("activate", FIRST)
    done = lab.session("cat /etc/resolv.conf", "--resolver", str(mine))
    assert done.stdout == mine.read_text()
    assert os.readlink(lab.root(lab.slots[0]) / "etc/resolv.conf") == "/tmp/resolv.conf"


def test_a_path_of_the_host_can_be_shown_in_a_session(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "package").write_text("content")
    place = f"{tmp_path}:/srv/packages"
    lab.session("cat /srv/packages/package; ! touch /srv/packages/x", "--mount", place)
    lab.session("touch /srv/packages/written", "--mount", f"{place}:rw")
    assert (tmp_path / "written").exists()
    assert lab.session(f"cat {tmp_path}/package", "--mount", f"{tmp_path}/package").stdout == "content"
    for wrong in ("relative", f"{tmp_path}:relative", "/does/not/exist", "/a:/b:/c"):
        assert lab.sysmut("run", "--mount", wrong, "--", "true").returncode == 78


def test_the_number_of_slots_stays_unless_another_is_set(lab: Lab) -> None:
    lab.session(":", "--slots", "2")
    assert len(lab.slots) == 2
    lab.session(":")
    assert len(lab.slots) == 2
    lab.session(":", "--slots", "5")
    assert lab.slots[3:] == [lab.slots[1]] * 2 or len(set(lab.slots)) == 3


def test_a_session_can_start_from_any_slot_id_prefix_or_pin(lab: Lab) -> None:
    lab.session("echo second >/etc/which")
    second = lab.slots[0]
    lab.session("echo third >/etc/which")
    (lab.top / "pins").mkdir()
    (lab.top / "pins/good").symlink_to(f"../snapshots/{second}")
    for name in ("1", second, second[:-2], "good"):
        assert lab.sysmut("run", name, "--", "grep", "second", "/etc/which").returncode == 0
        lab.session(":")
        lab.sysmut("activate", second)
        lab.session(":", "0")


def test_subvolumes_beside_and_below_the_root_go_along_and_are_sealed(lab: Lab) -> None:
    with lab.unsealed(FIRST) as root:
        for path in (root / "var/machines", root.parent / "@usr"):
            sh("btrfs", "subvolume", "create", path)
            (path / "file").write_text("content")
    sh("btrfs", "property", "set", "-ts", lab.root(FIRST).parent / "@usr", "ro", "true")
    lab.template += f"UUID={lab.uuid} /usr btrfs subvol=CURRENT_SNAPSHOTS_PATH/@usr,ro 0 0\n"
    lab.session("cat /var/machines/file; echo more >/var/machines/more; ls /usr/file")
    new = lab.top / "snapshots" / lab.slots[0]
    assert (new / "@/var/machines/more").read_text() == "more\n"
    assert not (lab.root(FIRST) / "var/machines/more").exists()
    for name in ("@", "@/var/machines", "@usr"):
        assert "ro=true" in sh("btrfs", "property", "get", "-ts", new / name, "ro")
    lab.session("exit 1", status=1)
    assert lab.generations == {FIRST, new.name}


def test_a_session_starts_few_processes_and_no_program_of_its_own(lab: Lab, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    command = lab.command("sysmut", "run", "--", "true")
    sh("strace", "-f", "-qq", "-e", "trace=execve", "-o", trace, *command)
    programs = [line for line in trace.read_text().splitlines() if "execve(" in line and line.endswith("= 0")]
    assert ["python" in programs[0], '"/bin/true"' in programs[1], len(programs)] == [True, True, 2]
