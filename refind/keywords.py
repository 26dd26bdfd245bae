"""The words that rEFInd 0.13 and 0.14 know, and what each of them takes.

From the sample file, the documentation and refind/config.c; the last three came with 0.14."""

from refind.tokens import Line, fold

_BOTH = ("volume", "loader", "initrd", "options", "graphics", "disabled")
STANZA = frozenset((*_BOTH, "icon", "ostype", "firmware_bootnum", "submenuentry"))
SUBMENU = frozenset((*_BOTH, "add_options"))
BLOCKS = frozenset(("menuentry", "submenuentry"))

_ONE_VALUE = (
    *("timeout", "log_level", "screensaver", "icons_dir", "banner", "banner_scale", "small_icon_size"),
    *("big_icon_size", "selection_big", "selection_small", "font", "textmode", "mouse_size", "mouse_speed"),
    *("scan_delay", "max_tags", "spoof_osx_version"),
)
_ANY_VALUES = (
    *("shutdown_after_timeout", "use_nvram", "hideui", "textonly", "enable_touch", "enable_mouse"),
    *("use_graphics_for", "showtools", "scanfor", "uefi_deep_legacy_scan", "scan_driver_dirs", "also_scan_dirs"),
    *("dont_scan_volumes", "dont_scan_dirs", "dont_scan_files", "dont_scan_firmware", "dont_scan_tools"),
    *("windows_recovery_files", "scan_all_linux_kernels", "fold_linux_kernels", "extra_kernel_version_strings"),
    *("write_systemd_vars", "enable_and_lock_vmx", "csr_values"),
    *("follow_symlinks", "linux_prefixes", "support_gzipped_loaders"),
)
_COUNTS: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(_ONE_VALUE, (1,)),
    "resolution": (1, 2),
    "default_selection": (1, 3),  # with two times: in force between them only
}
GLOBAL = frozenset((*_COUNTS, *_ANY_VALUES))

# Those to which a line whose first value is `+` adds, where others replace.
ADDING = frozenset(
    (
        *("also_scan_dirs", "dont_scan_dirs", "dont_scan_files", "dont_scan_firmware", "dont_scan_tools"),
        *("windows_recovery_files", "scan_driver_dirs", "extra_kernel_version_strings", "csr_values"),
        *("use_graphics_for", "linux_prefixes"),
    )
)

_BY_FOLDED = {
    **{fold(word): word for word in (*GLOBAL, *STANZA, *SUBMENU, *BLOCKS, "include")},
    **{fold(word.replace("dont_", "don't_")): word for word in GLOBAL if word.startswith("dont_")},
}


def keyword(line: Line) -> str:
    """The keyword that a line begins with, as the sample file writes it; of an unknown one the text."""
    text = line.tokens[0].text
    return _BY_FOLDED.get(fold(text), text)


def is_known(word: str) -> bool:
    """Whether it is a keyword, wherever it may stand."""
    return fold(word) in _BY_FOLDED


def takes(word: str, count: int) -> bool:
    """Whether rEFInd heeds a global option with so many values, or passes over the line."""
    return count in _COUNTS.get(word, (count,))
