"""One place where a file is not what its author thinks."""

from dataclasses import dataclass
from typing import Literal

from refind.tokens import Line

Severity = Literal["error", "warning", "note"]
Code = Literal[
    "add-options",
    "after-brace",
    "before-brace",
    "brace-in-title",
    "closing-brace",
    "default-nothing",
    "default-sticks",
    "default-submenu",
    "default-unquoted",
    "default-unset",
    "extra-words",
    "global-in-stanza",
    "include-in-stanza",
    "include-itself",
    "include-missing",
    "include-nested",
    "include-words",
    "initrd-twice",
    "mixed",
    "mixed-root",
    "no-loader",
    "no-title",
    "non-ascii",
    "not-in-submenu",
    "one-line",
    "options-before-loader",
    "options-long",
    "options-unquoted",
    "outside",
    "quote",
    "scanfor",
    "stray-brace",
    "swallowed",
    "title-unquoted",
    "unclosed",
    "unknown",
    "volume-uuid",
]


@dataclass(frozen=True)
class Finding:
    """`code` is the kind, for programs; `message` says what is wrong and `advice` what to do. An error
    is something that will not do what it says, a warning what probably will not; a note is worth
    knowing and nothing wrong."""

    file: str
    line: int
    code: Code
    severity: Severity
    message: str
    advice: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.severity}: {self.message} ({self.advice})"


@dataclass(frozen=True)
class Desk:
    """Where the findings of one file are written."""

    file: str

    def error(self, line: Line | int, code: Code, message: str, advice: str) -> Finding:
        """It will not do what it says."""
        return self._finding(line, code, "error", message, advice)

    def warning(self, line: Line | int, code: Code, message: str, advice: str) -> Finding:
        """It probably will not do what is meant."""
        return self._finding(line, code, "warning", message, advice)

    def note(self, line: Line | int, code: Code, message: str, advice: str) -> Finding:
        """Worth knowing."""
        return self._finding(line, code, "note", message, advice)

    def _finding(self, line: Line | int, code: Code, severity: Severity, message: str, advice: str) -> Finding:
        number = line if isinstance(line, int) else line.number
        return Finding(self.file, number, code, severity, message, advice)
