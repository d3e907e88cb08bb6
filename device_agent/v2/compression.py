"""gzip and deflate, of requests (Content-Encoding) and of answers (Accept-Encoding), as Triton."""

from __future__ import annotations

import zlib

from device_agent.errors import RequestError
from device_agent.v2.refusal import bad_request

__all__ = ["accepted_encoding", "compressed", "decompressed"]

_WINDOW_BITS = {"gzip": 31, "deflate": 15}  # zlib's names for the two formats (RFC 1952, RFC 1950)
# A fifth of the default level's time for tensors, which hardly shrink further.
_LEVEL = 1
_SMALLEST_BYTES = 1024  # below, it fits one packet as it is


def decompressed(content: bytes, encoding: str, limit_bytes: int) -> bytes:
    """A body as it was before its Content-Encoding, without ever holding more than `limit_bytes` of it.

    Raises RequestError: 400 for an unknown encoding or damaged data, 413 when it is larger.
    """
    if encoding in ("", "identity"):
        return content
    if encoding not in _WINDOW_BITS:
        raise bad_request("the body has an unknown Content-Encoding", "gzip, deflate or identity", encoding)
    stream = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        plain = stream.decompress(content, limit_bytes + 1)
    except zlib.error as error:
        raise bad_request(f"the body is not {encoding}: {error}") from error
    if len(plain) > limit_bytes:
        what = f"the body is larger than the {limit_bytes} bytes allowed here, once decompressed"
        raise RequestError(what, status_code=413)
    if not stream.eof or stream.unused_data:
        raise bad_request(f"the body is not one whole {encoding} stream")
    return plain


def accepted_encoding(header: str) -> str | None:
    """What to compress the answer with: the heaviest of `header`, the first of equals; None: nothing."""
    best, best_weight = "identity", 0.0
    for item in header.lower().split(","):
        name, _, weight = item.replace(" ", "").partition(";q=")
        if name in ("identity", *_WINDOW_BITS) and _weight(weight) > best_weight:
            best, best_weight = name, _weight(weight)
    return None if best == "identity" else best


def compressed(content: bytes, encoding: str) -> bytes | None:
    """`content` in that encoding; None when it is so short that it is not worth it."""
    if len(content) < _SMALLEST_BYTES:
        return None
    stream = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW_BITS[encoding])
    return stream.compress(content) + stream.flush()


def _weight(text: str) -> float:
    if not text:
        return 1.0
    try:
        return float(text)
    except ValueError:
        return 0.0
