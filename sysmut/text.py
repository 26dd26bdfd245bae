"""Numbers as people read them."""


def size(count: int) -> str:
    """Bytes in the greatest unit of 1024 that leaves at least one: `1.5 GiB`."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def age(seconds: float) -> str:
    """How long something took or is ago, in one unit: `5 min`, `3 d`; `now` below a second, and in the future."""
    for unit, length in (("y", 365 * 86400), ("mo", 30 * 86400), ("wk", 7 * 86400), ("d", 86400), ("h", 3600)):
        if seconds >= 2 * length:
            return f"{int(seconds // length)} {unit}"
    if seconds >= 120:
        return f"{int(seconds // 60)} min"
    return f"{int(seconds)} s" if seconds >= 1 else "now"


def counted(number: int, what: str) -> str:
    """A number of things: `1 generation`, `3 generations`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def fitted(text: str, width: int) -> str:
    """The text, or what fits of it into so many columns, and an ellipsis."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"
