"""A session on a terminal: the shell has it as if sysmut were not there, and gives it back."""

import os
import signal
import termios
from collections.abc import Iterator

import pytest

from tests.lab import FIRST, Lab, copy_program
from tests.terminal import Terminal

PROMPT = "] # "


@pytest.fixture
def shell(lab: Lab) -> Iterator[Terminal]:
    """A session's shell, at its first prompt."""
    with Terminal(*lab.command("sysmut")) as terminal:
        terminal.expect(PROMPT)
        yield terminal


def test_the_prompt_says_which_generation_one_is_in_and_exit_publishes_it(lab: Lab) -> None:
    with Terminal(*lab.command("sysmut")) as terminal:
        before = terminal.expect(PROMPT)
        new = before.rpartition("sysmut ")[2]
        assert f"generation {new}, from {FIRST}" in before
        assert "exit 0 publishes it, exit 1 discards it" in before
        terminal.send("echo $SYSMUT_GENERATION from $SYSMUT_SOURCE in $SYSMUT_SLOT; exit\r")
        terminal.expect(f"{new} from {FIRST} in 0")
        assert terminal.wait() == 0
        assert lab.slots == [new, FIRST, FIRST, FIRST]
        assert f"generation {new} is slot 0 now" in terminal.seen
        assert f"  1  {FIRST}" in terminal.seen
        assert "sysmut rollback" in terminal.seen


def test_exit_1_discards(lab: Lab, shell: Terminal) -> None:
    shell.send("touch /etc/new; exit 1\r")
    assert shell.wait() == 1
    assert lab.slots == [FIRST] * 4
    assert lab.generations == {FIRST}
    assert "slots are as before" in shell.seen


def test_the_shell_has_job_control_and_ctrl_c_reaches_what_runs_in_it(lab: Lab, shell: Terminal) -> None:
    shell.send('sh -c \'trap "echo con"tinued CONT; echo rea""dy; while :; do sleep 0.1; done\'\r')
    shell.expect("ready")
    shell.send("\x1a")
    shell.expect("Stopped")
    shell.expect(PROMPT)
    shell.send("fg\r")
    shell.expect("continued")
    shell.send("\x03")
    shell.expect(PROMPT)
    shell.send("exit 0\r")
    assert shell.wait() == 0
    assert lab.slots[0] != FIRST


def test_the_shell_sees_the_size_of_the_window_change(shell: Terminal) -> None:
    shell.send("stty size\r")
    shell.expect("24 80")
    shell.expect(PROMPT)
    shell.resize(50, 132)
    shell.send("stty size\r")
    shell.expect("50 132")


def test_a_shell_that_stops_itself_goes_on(shell: Terminal) -> None:
    shell.send("kill -STOP $$; echo went $((1 + 1)) on\r")
    shell.expect("went 2 on")


def test_the_terminal_is_given_back_with_its_settings(lab: Lab) -> None:
    with Terminal(*lab.command("sysmut")) as terminal:
        before = termios.tcgetattr(terminal.slave)
        terminal.expect(PROMPT)
        terminal.send("stty raw -echo; kill -9 $$\r")
        assert terminal.wait() == 128 + signal.SIGKILL
        assert termios.tcgetattr(terminal.slave) == before


def test_after_a_session_the_calling_shell_is_in_the_foreground_again(lab: Lab) -> None:
    with Terminal(*lab.command("sysmut"), shell=True) as terminal:
        terminal.expect(PROMPT)
        terminal.send("exit 3\r")
        terminal.expect("status 3")


def test_a_lost_terminal_ends_the_session_and_nothing_has_changed(lab: Lab, shell: Terminal) -> None:
    before = lab.slots
    shell.hang_up()
    assert shell.process.wait(timeout=20) == 128 + signal.SIGHUP
    assert lab.slots == before
    assert lab.generations == {FIRST}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_to_sysmut_ends_the_shell(lab: Lab, shell: Terminal, number: signal.Signals) -> None:
    os.kill(shell.process.pid, number)
    assert shell.wait() == 128 + number
    assert lab.generations == {FIRST}
    assert f"ended by {number.name}" in shell.seen


def test_ctrl_c_goes_to_a_script_and_not_to_sysmut(lab: Lab) -> None:
    script = "trap 'echo caught; exit 5' INT; echo ready; sleep 1000 & wait"
    with Terminal(*lab.command("sysmut", "run", "--", "sh", "-c", script)) as terminal:
        terminal.expect("ready")
        terminal.send("\x03")
        terminal.expect("caught")
        assert terminal.wait() == 5
    assert lab.generations == {FIRST}


def test_a_script_in_the_background_has_no_terminal_to_wait_for(lab: Lab) -> None:
    command = lab.command("sysmut", "run", "--", "sh", "-c", "cat </dev/tty; echo read it")
    with Terminal("sh", "-c", 'set -m; "$@" & wait; echo over', "sh", *command) as terminal:
        terminal.expect("read it")
        terminal.expect("over")
    assert lab.slots[0] != FIRST


def test_without_a_terminal_a_shell_is_refused_and_nothing_has_changed(lab: Lab) -> None:
    before = lab.picture()
    done = lab.sysmut()
    assert done.returncode == 64
    assert "needs a terminal" in done.stderr
    assert "--script" in done.stderr
    assert lab.picture() == before


def test_roots_own_shell_is_taken_and_bash_shows_the_generation_whatever_its_start_up_files_say(lab: Lab) -> None:
    with lab.unsealed(FIRST) as root:
        copy_program(root, "bash")
        (root / "etc/passwd").write_text("daemon:x:1:1::/:/bin/sh\nroot:x:0:0:root:/root:/usr/bin/bash\n")
        (root / "root/.bashrc").write_text("PS1='mine] # '\n")
    with Terminal(*lab.command("sysmut")) as terminal:
        assert "[sysmut 2" in terminal.expect("mine] # ")
        terminal.send("echo $SHELL $PPID; exit 1\r")
        terminal.expect("/usr/bin/bash 1")
        assert terminal.wait() == 1


def test_the_shell_of_the_settings_is_taken(lab: Lab) -> None:
    with Terminal(*lab.command("sysmut", "--shell", "/bin/ash")) as terminal:
        terminal.expect("# ")
        terminal.send("echo $SHELL; exit 1\r")
        terminal.expect("/bin/ash")
        assert terminal.wait() == 1


def test_a_shell_of_roots_that_is_not_there_is_not_taken(lab: Lab) -> None:
    with lab.unsealed(FIRST) as root:
        (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/gone\n")
    with Terminal(*lab.command("sysmut")) as terminal:
        terminal.expect(PROMPT)
        terminal.send("echo $SHELL; exit 1\r")
        terminal.expect("/bin/sh")
        assert terminal.wait() == 1
