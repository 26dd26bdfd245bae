"""What is done with a new generation before it is sealed: mended where that is possible, and looked at."""

import stat
from collections.abc import Callable

from sysmut import inroot, layout
from sysmut.boot import checking, kernels
from sysmut.boot.finding import Finding, Findings
from sysmut.config import Config
from sysmut.errors import BadData
from sysmut.toplevel import TopLevel


def mend(top: TopLevel, generation: str, config: Config) -> tuple[str, ...]:
    """Write anew what the boot loader could not read of the files that it would load; the paths of those.

    A hole, an unwritten extent and LZO compression are matters of how a file came to be on disk, and
    gone when it is written anew.
    """
    root = top.at(layout.root(generation))
    kernel = kernels.choose(kernels.find(root), config.kernel)
    if kernel is None:
        return ()
    from sysmut.boot import files, readable  # late: a root without a kernel has no use for them

    mended = []
    for path in (kernel.path, kernel.initramfs, *kernel.microcode):
        if path is None:
            continue
        try:
            with files.opened(top, generation, path):
                pass
        except BadData:
            continue  # the check tells
        if readable.flaws(top.fd, f"{layout.root(generation)}/{path}"):
            readable.rewrite(root, path)
            mended.append(path)
    return tuple(mended)


def examine(top: TopLevel, generation: str, source: str, config: Config) -> tuple[Finding, ...]:
    """What would keep the new generation from booting. Where neither it nor its source has a kernel it
    is no root to boot, and only the rest is looked at, which a note says."""
    expected = checking.has_kernel(top, generation) or checking.has_kernel(top, source)
    found = checking.generation(top, generation, config, kernel=expected, sealed=False)
    if expected:
        return found
    findings = Findings(generation)
    findings.note("no kernel is in /boot, nor in the source's:", "whether it boots was not looked at")
    root, before = top.at(layout.root(generation)), top.at(layout.root(source))
    if _has_init(before) and not _has_init(root):
        findings.error(f"/{layout.root(generation)}/sbin/init", "is gone", "put it back")
    return (*found, *findings.found)


def _has_init(root: str) -> bool:
    status = inroot.status(root, "sbin/init")
    return status is not None and stat.S_ISREG(status.st_mode) and status.st_size > 0


def verdict(found: tuple[Finding, ...], *, force: bool, say: Callable[[str], None]) -> None:
    """Tell what was found, and raise BadData for what would not boot, unless forced."""
    errors = [finding for finding in found if finding.severity == "error"]
    for finding in found if force or not errors else errors[1:]:
        say(f"{finding.severity}: {finding}")
    if errors and not force:
        first = errors[0]
        more = f" (and {len(errors) - 1} more, above)" if len(errors) > 1 else ""
        raise BadData(
            f"it would not boot: {first.where} {first.what}".rstrip() + more,
            hint="; ".join(part for part in (first.advice, "--force does it all the same") if part),
        )
