"""The main job on a real Debian: taken in, upgraded by apt, collected."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab, sh

INSTALL = "apt-get update -q\napt-get install -y -q --no-install-recommends hello"


@pytest.fixture(scope="module")
def debian(debian_tar: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A filesystem with a Debian in it. One for all tests: each goes on from what it finds."""
    lab = Lab(tmp_path_factory.mktemp("debian-lab"), 3 * 2**30)
    try:
        done = lab.sysmut("init", debian_tar, "--common", "/home", "--common", "/var/log", "--common", "/var/cache")
        assert done.returncode == 0, done.stderr
        yield lab
    finally:
        lab.close()
        lab.image.unlink()


def in_slot(lab: Lab, slot: int, *command: str) -> "subprocess.CompletedProcess[str]":
    """Run a program of the generation in a slot, with that as its root."""
    root = lab.root(lab.slots[slot])
    return subprocess.run(["chroot", root, *command], check=False, capture_output=True, text=True)


def is_installed(lab: Lab, slot: int, package: str) -> bool:
    status = in_slot(lab, slot, "dpkg-query", "-W", "-f", "${db:Status-Status}", package)
    return status.stdout == "installed"


def script(directory: Path, text: str) -> Path:
    path = directory / "upgrade.sh"
    path.write_text(f"#!/bin/sh -e\nexport DEBIAN_FRONTEND=noninteractive\n{text}\n")
    return path


def test_a_script_that_fails_after_installing_leaves_everything_as_before(debian: Lab, tmp_path: Path) -> None:
    before = debian.picture()
    done = debian.sysmut("--script", script(tmp_path, f"{INSTALL}\nhello\nexit 5"))
    assert done.returncode == 5, done.stderr
    assert "Hello, world!" in done.stdout
    assert debian.picture() == before
    assert not is_installed(debian, 0, "hello")


def test_a_real_upgrade_is_in_slot_0_and_not_in_slot_1(debian: Lab, tmp_path: Path) -> None:
    before = debian.slots
    done = debian.sysmut("--script", script(tmp_path, INSTALL), "--description", "hello")
    assert done.returncode == 0, done.stderr
    new = debian.slots[0]
    assert debian.slots == [new, *before[:3]]
    assert debian.is_sealed(new)
    assert is_installed(debian, 0, "hello")
    assert not is_installed(debian, 1, "hello")
    assert in_slot(debian, 0, "hello").stdout == "Hello, world!\n"
    assert not (debian.root(before[0]) / "usr/bin/hello").exists()
    assert "Setting up hello" in (debian.top / "snapshots" / new / "sysmut.log").read_text()


def test_the_host_resolves_names_for_it_and_its_own_resolver_file_is_kept(debian: Lab) -> None:
    def resolver(slot: int) -> str | None:
        path = debian.root(debian.slots[slot]) / "etc/resolv.conf"
        return path.read_text() if path.exists() else None

    before = resolver(0)
    done = debian.session("cat /etc/resolv.conf; touch /etc/changed")
    assert done.stdout == Path("/etc/resolv.conf").read_text()
    assert resolver(0) == before


def test_what_is_written_to_a_common_is_in_no_generation(debian: Lab) -> None:
    debian.session("echo line >/var/log/written; touch /etc/written")
    assert (debian.top / "commons/@var@log/written").read_text() == "line\n"
    for name in debian.generations:
        assert os.listdir(debian.root(name) / "var/log") == []


def test_package_scripts_can_tell_that_they_run_in_a_chroot(debian: Lab) -> None:
    """As debianutils' ischroot and systemd's own programs tell, which then start nothing."""
    debian.session("ischroot; if [ /proc/1/root -ef / ]; then exit 9; fi; [ ! -e /run/systemd ]; touch /etc/seen")


def test_a_daemon_that_a_package_script_starts_is_gone_afterwards(debian: Lab) -> None:
    debian.session(
        "touch /etc/daemon; setsid sh -c 'trap \"\" HUP TERM; exec sleep 98765' </dev/null >/dev/null 2>&1 &"
    )
    running = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.parent.exists()]
    assert not [line for line in running if b"98765" in line]


@pytest.mark.parametrize(
    "text",
    [
        "dpkg -l >/dev/null; cat /etc/os-release >/dev/null; ls -lR /usr >/dev/null",
        "touch /etc/os-release; cp -p /etc/passwd /etc/other; cat /etc/other >/etc/passwd; rm /etc/other",
        "touch /usr/bin/env /etc; echo noise >/tmp/noise; echo noise >/run/noise; echo noise >>/var/log/noise",
    ],
)
def test_a_script_that_changes_nothing_is_dropped_if_that_is_asked_for(debian: Lab, tmp_path: Path, text: str) -> None:
    before = debian.picture()
    done = debian.sysmut("--script", script(tmp_path, text), "--drop-if-unchanged")
    assert done.returncode == 0, done.stderr
    assert "nothing changed" in done.stderr
    assert debian.picture() == before
    told = debian.sysmut("--script", script(tmp_path, text), "--drop-if-unchanged", "--json")
    assert json.loads(told.stdout)["outcome"] == "unchanged"
    assert debian.picture() == before


@pytest.mark.parametrize(
    "text",
    [
        "echo >>/etc/hosts.new",
        "chmod 700 /usr/bin/env; chmod 711 /usr/bin/env",
        "sed -i s/bookworm/Bookworm/ /etc/os-release",
        "rm /usr/share/common-licenses/GPL",
        "chown daemon /srv",
    ],
)
def test_the_least_change_is_published(debian: Lab, tmp_path: Path, text: str) -> None:
    before = debian.slots
    done = debian.sysmut("--script", script(tmp_path, text), "--drop-if-unchanged")
    assert done.returncode == 0, done.stderr
    assert debian.slots == [debian.slots[0], *before[:3]]
    assert debian.slots[0] != before[0]


def test_the_space_of_old_upgrades_comes_back(debian: Lab) -> None:
    for _ in debian.slots:
        debian.session("date +%N >/etc/date")
    assert debian.generations > set(debian.slots)
    done = debian.syscln()
    assert done.returncode == 0, done.stderr
    assert debian.generations == set(debian.slots)
    assert sh("btrfs", "subvolume", "list", debian.top).count("path snapshots/") == len(debian.generations)
