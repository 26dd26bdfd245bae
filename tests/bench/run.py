"""The whole run: the stages, the cases, the counts, the growth."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench import cases, growing, roots, snapper
from tests.bench.counting import Counts, count
from tests.bench.growing import Growth
from tests.bench.measuring import Case, RunFailed, interleave
from tests.bench.place import disk
from tests.bench.programs import PYTHON, SYSMUT, Programs
from tests.bench.snapper import Snapper
from tests.bench.stage import Stage
from tests.lab import busybox_root

GROWTH = ("grow-generations", "grow-files", "grow-changes")
"""The cases that are about growth."""

_COSTLY = 1_000
"""With so many generations to delete, only sysmut and the floor are counted."""


@dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    runs: int = 11
    growth_runs: int = 5
    collections: tuple[tuple[int, int], ...] = ((100, 7), (1_000, 5), (10_000, 2))
    """How many generations are deleted, and how often at most that is done."""
    with_links: tuple[int, int] = (1_000, 3)
    """The same, with a link set for each."""
    generations: tuple[int, ...] = (100, 300, 1_000, 3_000)
    files: tuple[int, ...] = (2_500, 5_000, 10_000, 20_000)
    changes: tuple[int, ...] = (0, 100, 300, 1_000, 3_000)
    disk: int = 8 * 2**30
    debian: bool = True


QUICK = Sizes(
    runs=2,
    growth_runs=1,
    collections=((5, 1), (10, 1), (20, 1)),
    with_links=(10, 1),
    generations=(5, 10, 20, 40),
    files=(50, 100, 200, 400),
    changes=(0, 5, 10, 20, 40),
    disk=2**30,
    debian=False,
)


@dataclass
class Results:
    """All that was found."""

    cases: list[Case] = field(default_factory=list)
    counts: dict[tuple[str, str], Counts] = field(default_factory=dict)
    """By case and contender."""
    growth: list[Growth] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    """What could not be measured, and why."""


@dataclass
class Bench:
    """One run of the program, in a directory of its own. `where` is where the disk images are."""

    directory: Path
    where: str
    programs: Programs
    sizes: Sizes
    wanted: tuple[str, ...]
    """The names of the cases to be run; none means all."""
    archive: str | None
    quick: bool
    chance: random.Random
    tell: Callable[[str], None]
    results: Results = field(default_factory=Results)

    def carry_out(self) -> Results:
        """Measure all that is wanted."""
        self._measure(self._light())
        if self._is_wanted("grow-generations"):
            self._grow_generations()
        if self._is_wanted("grow-files") or self._is_wanted("grow-changes"):
            self._grow_roots()
        return self.results

    def _is_wanted(self, name: str) -> bool:
        return not self.wanted or name in self.wanted

    def _stage(self, name: str, root: Path) -> Stage:
        """A new filesystem, with the root in its generations."""
        self.tell(f"making the filesystem {name}")
        top = self.directory / name
        stage = Stage(top, disk(self.where, top, self.sizes.disk), self.directory / f"{name}-mounted")
        stage.lay_out(root)
        return stage

    def _light(self) -> list[Case]:
        """The cases, on the filesystems that they need."""
        programs, beside = self.programs, self._snapper()
        stage = self._stage("small", roots.small(self.directory / "small-root"))
        found = [
            cases.session(stage, programs, beside, "session", "a session with `/bin/true`, small root"),
            cases.usage(programs),
            cases.status(stage, programs),
            cases.listing(stage, programs, beside),
            cases.activation(stage, programs),
            cases.collection(stage, programs, beside, 0),
            *(cases.collection(stage, programs, beside, count, most) for count, most in self.sizes.collections),
            cases.collection(stage, programs, None, *self.sizes.with_links, links=True),
        ]
        with_package = self._stage("package", self.directory / "small-root")
        changed = roots.with_package(with_package)
        found.append(
            cases.difference(
                with_package, programs, beside, changed, "diff", "`sysmut diff`, one small package, small root"
            )
        )
        if self._is_wanted("session-debian") or self._is_wanted("diff-debian"):
            found += self._on_debian()
        unknown = set(self.wanted) - {case.name for case in found} - set(GROWTH)
        if unknown:
            raise RunFailed(f"no such case: {', '.join(sorted(unknown))}; there are: {_names(found)}")
        return [case for case in found if self._is_wanted(case.name)]

    def _snapper(self) -> Snapper | None:
        if not snapper.is_there():
            self.results.missing.append("snapper is not installed: its column is empty")
            return None
        root = busybox_root(_made(self.directory / "snapper-root"))
        top = self.directory / "snapper"
        found = Snapper(Stage(top, disk(self.where, top, self.sizes.disk), self.directory / "snapper-mounted"))
        found.set_up(root, self.directory)
        return found

    def _on_debian(self) -> list[Case]:
        """The cases on a Debian of a gigabyte."""
        if not self.sizes.debian:
            return []
        self.tell("making a Debian of a gigabyte")
        root = roots.debian(self.directory / "debian-root", self.archive)
        if root is None:
            self.results.missing.append("mmdebstrap is not installed: there are no figures for a Debian root")
            return []
        stage = self._stage("debian", root)
        changed = roots.with_package(stage)
        return [
            cases.session(stage, self.programs, None, "session-debian", "a session with `/bin/true`, Debian of 1 GB"),
            cases.difference(
                stage, self.programs, None, changed, "diff-debian", "`sysmut diff`, one small package, Debian of 1 GB"
            ),
        ]

    def _measure(self, found: list[Case]) -> None:
        """Put the cases on the clock, then count."""
        self.results.cases = found
        interleave(found, self.sizes.runs, self.chance, self.tell)
        for case in found:
            self.tell(f"counting: {case.name}")
            for contender in case.contenders:
                costly = self.quick or case.work >= _COSTLY
                if costly and contender.name not in (SYSMUT, PYTHON):
                    continue
                traced = case.traced and (contender.name == SYSMUT or not self.quick)
                runs = 1 if costly else 3
                self.results.counts[case.name, contender.name] = count(contender, runs=runs, traced=traced)

    def _grow_generations(self) -> None:
        stage = self._stage("generations", roots.small(self.directory / "generations-root"))
        sizes = self.sizes
        self.results.growth += growing.with_generations(
            stage, self.programs, sizes.generations, sizes.growth_runs, self.chance, self.tell
        )

    def _grow_roots(self) -> None:
        stages = {}
        for size in self.sizes.files:
            root = roots.with_files(self.directory / f"root-{size}", size)
            stage = self._stage(f"files-{size}", root)
            stages[size] = stage, roots.with_package(stage)
        runs = self.sizes.growth_runs
        if self._is_wanted("grow-files"):
            self.results.growth += growing.with_files(stages, self.programs, runs, self.chance, self.tell)
        if self._is_wanted("grow-changes"):
            stage, _ = stages[self.sizes.files[-1]]
            changed = {size: roots.with_changes(stage, size) for size in self.sizes.changes}
            self.results.growth.append(
                growing.with_changes(stage, changed, self.programs, runs, self.chance, self.tell)
            )


def _names(found: list[Case]) -> str:
    return ", ".join((*(case.name for case in found), *GROWTH))


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory
