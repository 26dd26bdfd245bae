"""What is kept although nothing refers to it: the newest, the young, and all while there is room. Pure."""

import itertools
from collections.abc import Iterator, Mapping, Sequence

from sysmut.cleanup.model import NOT_REFERENCED, NOT_SEALED, Facts, Made, Plan, Verdict
from sysmut.config import Config, Space
from sysmut.values import frozen, replace

_DAY = 86400


@frozen
class Retention:
    """The rules in force. One that is 0 or None is no rule; without any nothing is kept."""

    keep: int = 0
    """So many of all that are sealed, the newest."""
    keep_days: float = 0
    """What is sealed and younger."""
    keep_free: Space | None = None
    """While so much is free: all that the other rules keep, or, without them, all that is sealed. When
    less is, the oldest of that goes."""

    @classmethod
    def of(cls, config: Config) -> "Retention":
        """The rules of the settings."""
        return cls(config.keep, config.keep_days, config.keep_free)

    @property
    def given(self) -> bool:
        """Whether there is any rule."""
        return bool(self.keep or self.keep_days or self.keep_free)


def retain(planned: Plan, retention: Retention, facts: Facts) -> Plan:
    """The plan with what the rules keep of that which it dooms. What it keeps stays kept, whatever the
    rules say, and only counts among the newest."""
    doomed = set(planned.doomed)
    order = sorted((name for name, made in facts.made.items() if made.sealed), key=lambda n: (facts.made[n].number, n))
    loose = [name for name in order if name in doomed]
    reasons = _by_rule(retention, facts, order, loose)
    spare: tuple[str, ...] = ()
    if retention.keep_free:
        spare = tuple(name for name in loose if name in reasons or not (retention.keep or retention.keep_days))
    short = retention.keep_free is not None and facts.free < retention.keep_free.of(facts.size) <= facts.size
    goes = spare[:1] if short and len(doomed) == len(spare) else ()  # else what the rest gives back may be enough
    for name, reason in zip(spare, _while_free(retention.keep_free, facts.size, short=short), strict=False):
        reasons[name] = (*reasons.get(name, ()), reason)
    verdicts = []
    for verdict in planned.verdicts:
        name = verdict.generation
        if name in goes:
            verdicts.append(for_space(name, retention))
        elif verdict.keep or name in reasons:
            verdicts.append(Verdict(name, True, (verdict.reasons if verdict.keep else ()) + reasons.get(name, ())))
        else:
            sealed = name in facts.made and facts.made[name].sealed
            verdicts.append(verdict if sealed else Verdict(name, False, (*verdict.reasons, NOT_SEALED)))
    return replace(planned, verdicts=tuple(verdicts), spare=spare, short=short)


def for_space(name: str, retention: Retention) -> Verdict:
    """That this generation goes since less than `keep_free` is free."""
    return Verdict(name, False, (NOT_REFERENCED, f"oldest, to have {retention.keep_free} free"))


def _by_rule(
    retention: Retention, facts: Facts, order: Sequence[str], loose: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """What `keep` and `keep_days` keep, and why. `order` is all that is sealed, `loose` those of them that
    nothing else keeps; the oldest first."""
    reasons: dict[str, tuple[str, ...]] = {}
    if retention.keep:
        newest = f"one of the {retention.keep} newest" if retention.keep > 1 else "the newest"
        reasons = dict.fromkeys(order[-retention.keep :], (newest,))
    if retention.keep_days:
        times = _times(facts.made, facts.now)
        young = f"younger than {retention.keep_days:g} day{'' if retention.keep_days == 1 else 's'}"
        for name in loose:
            if facts.now - times[name] < retention.keep_days * _DAY:
                reasons[name] = (*reasons.get(name, ()), young)
    return reasons


def _times(made: Mapping[str, Made], now: float) -> dict[str, float]:
    """When each generation was made. A time in the future, by a clock that was wrong, cannot be: it was
    no later than that of the next one made, nor than now."""
    times = {}
    latest = now
    for name in sorted(made, key=lambda name: made[name].number, reverse=True):
        if made[name].time <= now:
            latest = made[name].time
        times[name] = latest
    return times


def _while_free(space: Space | None, size: int, *, short: bool) -> Iterator[str]:
    """What is said of each that may go for the sake of free space, the oldest first."""
    if space is not None and space.of(size) > size:
        yield from itertools.repeat(f"the filesystem is smaller than {space}")
    yield f"goes next, if less than {space} is free then" if short else f"would go first if less than {space} were free"
    yield from itertools.repeat(f"kept once {space} is free" if short else f"kept while {space} is free")
