"""zstd, which Python's standard library does not have before 3.14, by way of the system's libzstd.

btrfs-progs is linked with that library, so it is there wherever btrfs is used. The functions are those of
zstd.h: ZSTD_createDStream, ZSTD_decompressStream, ZSTD_isError, ZSTD_getErrorName, ZSTD_freeDStream.
"""

import functools
import weakref
from typing import Any

_LIBRARY = "libzstd.so.1"


class NoLibrary(LookupError):
    """libzstd is not on this system, so that nothing can be said of the data."""


class Decompressor:
    """Decompresses one frame, with the attributes and methods of bz2.BZ2Decompressor.

    `eof` is True after the frame's end, and `unused_data` is then what was given beyond it: another
    frame is for another Decompressor. A skippable frame yields nothing. The library refuses a frame
    that needs more than 128 MiB of memory, and so does the kernel. Raises NoLibrary.
    """

    def __init__(self) -> None:
        self._library = _library()
        self._stream = self._library.ZSTD_createDStream()
        if not self._stream:
            raise MemoryError
        weakref.finalize(self, self._library.ZSTD_freeDStream, self._stream)
        self._data = b""
        self._at = 0
        self.eof = False
        self.needs_input = True

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """At most `max_length` bytes more of the frame's content, `data` being the next of its bytes:
        b"" unless `needs_input`. Raises ValueError for damaged data."""
        import ctypes

        if data:
            self._data, self._at = self._data[self._at :] + data, 0
        output = ctypes.create_string_buffer(max_length)
        made = (ctypes.c_size_t * 3)(ctypes.addressof(output), max_length, 0)  # ZSTD_outBuffer: dst, size, pos
        source = ctypes.cast(ctypes.c_char_p(self._data), ctypes.c_void_p).value
        given = (ctypes.c_size_t * 3)(source or 0, len(self._data), self._at)  # ZSTD_inBuffer: src, size, pos
        result = self._library.ZSTD_decompressStream(self._stream, made, given)
        if self._library.ZSTD_isError(result):
            raise ValueError(self._library.ZSTD_getErrorName(result).decode(errors="replace"))
        self._at = given[2]
        self.eof = result == 0
        # libzstd takes the last byte of a frame only when all output is out, so this never asks past the end.
        self.needs_input = not self.eof and self._at == len(self._data)
        return ctypes.string_at(output, made[2])

    @property
    def unused_data(self) -> bytes:
        """What was given beyond the frame's end; b"" before that is reached."""
        return self._data[self._at :] if self.eof else b""


@functools.cache
def _library() -> Any:
    import ctypes

    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError:
        raise NoLibrary(f"{_LIBRARY} is not on this system") from None
    library.ZSTD_createDStream.restype = ctypes.c_void_p
    library.ZSTD_freeDStream.argtypes = (ctypes.c_void_p,)
    library.ZSTD_decompressStream.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
    library.ZSTD_decompressStream.restype = ctypes.c_size_t
    library.ZSTD_isError.argtypes = (ctypes.c_size_t,)
    library.ZSTD_getErrorName.argtypes = (ctypes.c_size_t,)
    library.ZSTD_getErrorName.restype = ctypes.c_char_p
    return library
