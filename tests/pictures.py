"""Makes the pictures of `list`, `diff` and `status` in docs/, of a real system on a disk image: as root,
`python3 -m tests.pictures`.

What is shown is what a terminal of 80 columns showed, as SVG.
"""

import contextlib
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from tests.lab import Lab, sh
from tests.terminal import Terminal

DOCS = Path(__file__).parents[1] / "docs"

_ROW, _COLUMN, _MARGIN = 18, 8.4, 14


def svg(command: str, lines: Sequence[str]) -> str:
    """A picture of a terminal in which the command was given and the lines came of it."""
    shown = [f"# {command}", *lines]
    width = round(max(80, *map(len, shown)) * _COLUMN + 2 * _MARGIN)
    height = len(shown) * _ROW + 2 * _MARGIN
    places = [_MARGIN + (number + 1) * _ROW - 5 for number in range(len(shown))]
    rows = "\n".join(
        f'<text x="{_MARGIN}" y="{y}">{escape(line)}</text>' for y, line in zip(places, shown, strict=True)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">\n'
        f'<rect width="100%" height="100%" rx="6" fill="#1d2127"/>\n'
        f'<g fill="#e6e6e6" font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="14" '
        f'xml:space="preserve">\n{rows}\n</g>\n</svg>\n'
    )


def shown(lab: Lab, *arguments: str) -> list[str]:
    """What the terminal shows of a command."""
    with Terminal(*lab.command("sysmut", *arguments)) as terminal:
        assert terminal.wait() == 0, terminal.seen
        return terminal.seen.replace("\r", "").rstrip("\n").split("\n")


def main() -> None:
    """Make a Debian, change it as its owner would, and take the pictures."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory, contextlib.ExitStack() as stack:
        root, archive = Path(directory) / "root", Path(directory) / "root.tar"
        root.mkdir()
        sh(
            "mmdebstrap",
            "--quiet",
            "--variant=apt",
            "--include=linux-image-cloud-amd64,initramfs-tools,btrfs-progs,systemd-sysv",
            "bookworm",
            archive,
        )
        sh("tar", "-xf", archive, "-C", root)
        lab = Lab(Path(directory), 4 * 2**30)
        stack.callback(lab.close)
        lab.lay_out(root, commons=("/home", "/var/cache", "/var/lib/apt/lists", "/var/log"))
        for description, script in (
            (
                "ed, for the wizard",
                "apt-get update -qq; apt-get install -y -qq --no-install-recommends ed; echo Welcome. >/etc/motd",
            ),
            ("no more ed", "apt-get remove -y -qq ed"),
            ("hello", "apt-get install -y -qq --no-install-recommends hello"),
        ):
            lab.session(
                f"export DEBIAN_FRONTEND=noninteractive; ({script}) >/dev/null 2>&1", "--description", description
            )
        assert lab.sysmut("pin", "1", "good").returncode == 0
        for name, arguments in (("list", ("list",)), ("diff", ("diff", "3", "2")), ("status", ("status",))):
            picture = svg(" ".join(("sysmut", *arguments)), shown(lab, *arguments))
            (DOCS / f"{name}.svg").write_text(re.sub(re.escape(str(lab.top)), "", picture))


if __name__ == "__main__":
    main()
