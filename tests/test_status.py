"""`sysmut status`, with --check as monitoring reads it, and the figures for Prometheus."""

import re
from pathlib import Path

import pytest

from sysmut.config import Config
from sysmut.generations import State
from sysmut.status import Status, monitoring, prometheus
from sysmut.status.glance import CRITICAL, OK, WARNING, Problem, circumstances
from tests.lab import FIRST, Lab, sh

SECOND = "20260202000000AbCdEfGh"


def state(*slots: str | None) -> State:
    names = frozenset(name for name in slots if name is not None)
    return State("L", slots, {}, None, names, frozenset({"L"}))


def status(*slots: str | None, booted: str | None = None, free: int = 2**30, total: int = 2**32) -> Status:
    return Status("FS", state(*slots), booted, (), 2, free, total, 5, {})


@pytest.fixture
def well(lab: Lab) -> Lab:
    """A system of which nothing can be said against."""
    with lab.unsealed(FIRST) as root:
        (root / "etc/fstab").write_text(lab.template.replace("CURRENT_SNAPSHOTS_PATH", f"/snapshots/{FIRST}"))
    lab.session("touch /new")
    return lab


def check(lab: Lab, *arguments: str) -> tuple[int, str]:
    done = lab.sysmut("status", "--check", *arguments)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1
    return done.returncode, done.stdout


def test_all_is_well_in_one_line_with_figures(well: Lab) -> None:
    code, said = check(well)
    assert code == 0
    assert re.fullmatch(
        rf"SYSMUT OK - slot 0 is {well.slots[0]}, 1 to fall back to, .* free \| "
        r"free=\d+B;;;0;\d+ waiting=0 generations=2\n",
        said,
    )


def test_slots_that_all_hold_the_same_are_a_warning(lab: Lab) -> None:
    code, said = check(lab)
    assert (code, "nothing to fall back to" in said) == (1, True)
    assert "warning: every slot holds the same generation" in lab.sysmut("status").stdout


def test_a_slot_0_that_would_not_boot_is_critical_and_a_fallback_a_warning(well: Lab) -> None:
    for slot, expected in ((0, 2), (1, 1)):
        name = well.slots[slot]
        with well.unsealed(name) as root:
            (root / "etc/fstab").rename(root / "etc/fstab.away")
        code, said = check(well)
        assert (code, f"slot {slot}" in said, "would not boot" in said) == (expected, True, True)
        with well.unsealed(name) as root:
            (root / "etc/fstab.away").rename(root / "etc/fstab")
    assert check(well)[0] == 0


def test_what_is_not_sealed_is_told(well: Lab) -> None:
    well.seal(well.slots[0], sealed=False)
    code, said = check(well)
    assert (code, "not sealed" in said) == (2, True)


def test_a_slot_that_leads_nowhere_is_a_warning_and_slot_0_critical(well: Lab) -> None:
    for slot, expected in ((2, 1), (0, 2)):
        link = well.top / f"current/{slot}"
        link.unlink()
        link.symlink_to("../../snapshots/gone")
        code, said = check(well)
        assert (code, f"slot {slot} leads nowhere" in said) == (expected, True)


def test_the_default_subvolume_is_critical(well: Lab) -> None:
    number = sh("btrfs", "subvolume", "show", well.root(FIRST)).split("Subvolume ID:")[1].split()[0]
    sh("btrfs", "subvolume", "set-default", number, well.top)
    code, said = check(well)
    assert (code, "default subvolume" in said) == (2, True)
    sh("btrfs", "subvolume", "set-default", "5", well.top)


def test_too_little_space_is_critical(well: Lab) -> None:
    code, said = check(well, "--config", str(written(well, 'min_free = "100G"\n')))
    assert (code, "no session can begin" in said) == (2, True)


def written(lab: Lab, text: str) -> Path:
    path = lab.top.parent / "sysmut.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("what", ["nothing", "current", "broken settings", "not btrfs"])
def test_what_cannot_be_told_is_unknown_in_one_line_on_standard_output(lab: Lab, tmp_path: Path, what: str) -> None:
    arguments = ["--check"]
    match what:
        case "nothing":
            sh("rm", "-r", lab.top / "links")
        case "current":
            (lab.top / "current").unlink()
        case "broken settings":
            arguments += ["--config", str(written(lab, "nonsense\n"))]
        case "not btrfs":
            arguments += ["--root", "/proc"]
    done = lab.sysmut("status", *arguments)
    assert (done.returncode, done.stderr) == (3, "")
    assert re.fullmatch(r"SYSMUT UNKNOWN - .+\n", done.stdout)
    assert lab.sysmut("status", *arguments, "--json").returncode == 3


def test_a_running_system_that_is_not_slot_0_is_noticed() -> None:
    config = Config()
    assert circumstances(status("a", "b", booted="a"), config) == []
    assert circumstances(status("a", "b", booted=None), config) == []
    (waits,) = circumstances(status("a", "b", booted="b"), config)
    assert (waits.level, "a reboot brings slot 0, a" in waits.message) == (WARNING, True)
    (lost,) = circumstances(status("a", "b", booted="c"), config)
    assert "is in no slot" in lost.message


def test_space_is_judged_by_what_a_session_needs_and_by_a_twentieth_of_all() -> None:
    def levels(free: int) -> list[int]:
        return [p.level for p in circumstances(status("a", "b", free=free, total=100 * 2**30), Config())]

    assert (levels(2**20), levels(2**30), levels(2**34)) == ([CRITICAL], [WARNING], [])


def test_the_worst_comes_first_and_names_the_status() -> None:
    health = monitoring.Health((Problem(CRITICAL, "a|b"), Problem(WARNING, "c")), (True,))
    assert health.level == CRITICAL
    assert monitoring.to_line(health, status("a", "b")).startswith("SYSMUT CRITICAL - a/b; c | free=")
    assert monitoring.Health((), ()).level == OK


def test_json_has_the_verdict(well: Lab) -> None:
    told = well.json("status", "--check")
    assert told["health"] == {"status": 0, "verdict": "ok", "problems": [], "boots": [True, True, True, True]}
    assert "health" not in well.json("status")


def test_the_figures_are_written_whole_and_readable_by_the_exporter(well: Lab, tmp_path: Path) -> None:
    path = tmp_path / "sysmut.prom"
    path.write_text("old")
    assert well.sysmut("status", "--prometheus", path).returncode == 0
    text = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o644
    assert [file.name for file in tmp_path.glob("sysmut.prom*")] == ["sysmut.prom"]
    filesystem = well.uuid
    assert f'sysmut_health{{filesystem="{filesystem}"}} 0\n' in text
    assert f'sysmut_slot_info{{filesystem="{filesystem}",slot="0",generation="{well.slots[0]}"}} 1\n' in text
    assert f'sysmut_slot_boots{{filesystem="{filesystem}",slot="3"}} 1\n' in text
    assert f'sysmut_slots_different{{filesystem="{filesystem}"}} 2\n' in text


def test_the_figures_are_in_the_exposition_format(well: Lab) -> None:
    name, label = r"[a-zA-Z_:][a-zA-Z0-9_:]*", r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
    forms = (rf"# HELP {name} .+", rf"# TYPE {name} gauge", rf"{name}\{{{label}(?:,{label})*\}} -?\d+")
    lines = well.sysmut("status", "--prometheus", "-").stdout.splitlines()
    assert len(lines) > 20
    for line in lines:
        assert any(re.fullmatch(form, line) for form in forms), line


def test_a_name_cannot_break_out_of_a_label() -> None:
    text = prometheus.render(status('a"} 1\nevil\\', None), monitoring.Health((), (True, None)), 0)
    assert 'generation="a\\"} 1\\nevil\\\\"} 1\n' in text
    assert not [line for line in text.splitlines() if line.startswith("evil")]


def test_figures_that_cannot_be_written_leave_what_was_there(well: Lab, tmp_path: Path) -> None:
    done = well.sysmut("status", "--prometheus", tmp_path / "nowhere/sysmut.prom")
    assert (done.returncode, len(done.stderr.splitlines())) == (71, 1)
    assert "nowhere" in done.stderr


def test_what_another_program_has_deleted_behind_a_pin_is_noticed(well: Lab) -> None:
    well.add_generation(SECOND)
    well.sysmut("pin", SECOND, "good")
    sh("btrfs", "subvolume", "delete", well.root(SECOND))
    said = f"pin good: generation {SECOND} has no root any more"
    assert f"warning: {said}" in well.sysmut("status").stdout
    sh("btrfs", "subvolume", "delete", well.root(FIRST))
    assert check(well)[0] == 1


def test_a_glance_says_that_all_is_well(well: Lab) -> None:
    assert well.sysmut("status").stdout.splitlines()[-1] == "all is well"
