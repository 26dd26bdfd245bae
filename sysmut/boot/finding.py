"""One thing that was found when asking whether a generation would boot."""

from typing import Any, Literal

from sysmut import layout
from sysmut.values import frozen

Severity = Literal["error", "warning", "note"]


@frozen
class Finding:
    """`where` and `what` make a sentence, `advice` says what to do. With an error it would not boot; with
    a warning it would, but not as it should; a note says what could not be looked at."""

    severity: Severity
    generation: str | None
    """None for what concerns every generation."""
    where: str
    what: str
    advice: str

    def __str__(self) -> str:
        parts = (self.where, self.what, f"({self.advice})" if self.advice else "")
        return layout.shown(" ".join(part for part in parts if part))

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        shown = {key: layout.shown(getattr(self, key)) for key in ("where", "what", "advice")}
        return {"severity": self.severity, "generation": self.generation, **shown}


class Findings:
    """A list of them, about one generation or about all."""

    def __init__(self, generation: str | None) -> None:
        self.generation = generation
        self.found: list[Finding] = []

    def error(self, where: str, what: str, advice: str = "") -> None:
        """It would not boot."""
        self.found.append(Finding("error", self.generation, where, what, advice))

    def warning(self, where: str, what: str, advice: str = "") -> None:
        """It would boot, but not as it should."""
        self.found.append(Finding("warning", self.generation, where, what, advice))

    def note(self, where: str, what: str, advice: str = "") -> None:
        """Something could not be looked at."""
        self.found.append(Finding("note", self.generation, where, what, advice))
