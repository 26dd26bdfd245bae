"""What each generation is, and what refers to it: one value for each, to text and to JSON."""

from sysmut.overview.model import Entry, Fates, collect, to_json
from sysmut.overview.single import Details, details, details_to_json, details_to_lines
from sysmut.overview.sizes import exclusive
from sysmut.overview.table import Layout, fields, lines

__all__ = [
    "Details",
    "Entry",
    "Fates",
    "Layout",
    "collect",
    "details",
    "details_to_json",
    "details_to_lines",
    "exclusive",
    "fields",
    "lines",
    "to_json",
]
