"""A look at a generation: a shell or command in it that can change nothing of it, nor of the commons."""

import os

from sysmut import fstab, generations, inroot, layout, sandbox, syscalls, toplevel
from sysmut.config import Config
from sysmut.errors import BadData, Busy
from sysmut.sandbox import Mount
from sysmut.session.environment import command
from sysmut.session.mounts import session_mounts
from sysmut.session.request import Request
from sysmut.signals import Interrupts
from sysmut.toplevel import TopLevel
from sysmut.values import replace

_FSTAB = "etc/fstab"


def look(top: TopLevel, config: Config, request: Request, interrupts: Interrupts) -> int:
    """Run the program that the request names in the generation that it names, sealed or not, and return its exit
    status. Whatever it writes outside a tmpfs is refused by the kernel. Nothing is recorded."""
    with toplevel.locked(top, interrupts.check):
        state = generations.read(top)
        booted = generations.booted(top)
        name = generations.find(state, request.source, booted)
        generations.subvolumes(top, name)  # which raises where there is none to look at
        with toplevel.claimed(top.at(layout.generation(name))) as claimed:
            if claimed is None and name not in state.referenced:
                raise Busy(f"generation {name} is open in a session", hint="wait for its end")
        root = top.at(layout.root(name))
        # From here on it is mounted, so that syscln keeps it; the mount goes with this process.
        syscalls.mount(root, root, None, syscalls.MS_BIND)
    if request.program.is_shell:
        sandbox.require_terminal()
    facts = {"SYSMUT_GENERATION": name, "SYSMUT_READ_ONLY": "1"}
    mounts = tuple(map(_harmless, session_mounts(top, config, _entries(root, request), request.say)))
    task = command(request.program, config, root, facts, mounts, request.timeout)
    if task.interactive:
        request.announce(f"generation {name}, read-only: nothing can be changed, and exit leaves it")
    with open(os.devnull, "wb") as log:
        task = replace(task, read_only=True)
        return sandbox.run(task, root, request.outputs, log.fileno(), interrupts).status


def _entries(root: str, request: Request) -> tuple[fstab.Entry, ...]:
    """What the generation's own fstab mounts; nothing where that cannot be read."""
    try:
        return fstab.entries(inroot.read_text(root, _FSTAB), _FSTAB)
    except (OSError, BadData) as error:
        request.say(f"the generation's fstab is passed over: {error}")
        return ()


def _harmless(mount: Mount) -> Mount:
    """The mount as it can be made in a sealed root, and nothing be changed by it."""
    flags = mount.flags if mount.fstype else mount.flags | syscalls.MS_RDONLY
    return replace(mount, flags=flags, optional=True, placeholder=False)
