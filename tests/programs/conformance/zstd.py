"""zstd streams for whoever plays an end, by the system's library (every Debian has it).

Owns one context a stream, flushed with every frame; a window of at most 2^17 bytes (P-36).
"""
import ctypes

try:
    LIBRARY = ctypes.CDLL("libzstd.so.1")
except OSError:
    LIBRARY = None


class Buffer(ctypes.Structure):
    _fields_ = [("at", ctypes.c_void_p), ("size", ctypes.c_size_t), ("pos", ctypes.c_size_t)]


def _function(name, *arguments):
    found = getattr(LIBRARY, name)
    found.restype, found.argtypes = ctypes.c_size_t, arguments
    return found


if LIBRARY:
    for _name in ("ZSTD_createCCtx", "ZSTD_createDCtx"):
        getattr(LIBRARY, _name).restype = ctypes.c_void_p
    _isError = _function("ZSTD_isError", ctypes.c_size_t)
    _parameter = _function("ZSTD_CCtx_setParameter", ctypes.c_void_p, ctypes.c_int, ctypes.c_int)
    _compress = _function("ZSTD_compressStream2", ctypes.c_void_p, ctypes.POINTER(Buffer), ctypes.POINTER(Buffer), ctypes.c_int)
    _restore = _function("ZSTD_decompressStream", ctypes.c_void_p, ctypes.POINTER(Buffer), ctypes.POINTER(Buffer))
WINDOW_LOG, FLUSH = 101, 1


def _run(step, payload, room):
    source = ctypes.create_string_buffer(payload, len(payload))
    target = ctypes.create_string_buffer(room)
    read = Buffer(ctypes.addressof(source), len(payload), 0)
    written = Buffer(ctypes.addressof(target), room, 0)
    left = step(ctypes.byref(written), ctypes.byref(read))
    if _isError(left) or read.pos != len(payload):
        raise ValueError("no zstd stream of frames that restore to at most 64 KiB")
    return target.raw[:written.pos]


class Compressor:
    def __init__(self):
        self.context = LIBRARY.ZSTD_createCCtx()
        _parameter(self.context, WINDOW_LOG, 17)

    def frame(self, payload):
        return _run(lambda out, got: _compress(self.context, out, got, FLUSH), payload, len(payload) + 1024)


class Restorer:
    def __init__(self):
        self.context = LIBRARY.ZSTD_createDCtx()

    def frame(self, payload):
        return _run(lambda out, got: _restore(self.context, out, got), payload, 65536)
