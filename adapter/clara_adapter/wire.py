"""A connected socket with deadlines: reads into one buffer, writes an answer at once, ends without losing it.

TCP_NODELAY and one write for each answer on our side, TCP_QUICKACK after every read for the peer's: with these, peers
that leave Nagle's algorithm on do not wait 40 ms for each instance.
"""

from __future__ import annotations

import contextlib
import socket
import time

DROPPED = 8 << 20  # bytes read and dropped at the end: what may be under way in the buffers of both sides
TICK = 1.0  # seconds between two looks at the deadlines while nothing arrives
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)


class Gone(Exception):
    """The peer closed or reset the connection."""


class Overdue(Exception):
    """A deadline passed."""


def prepare(connection: socket.socket) -> None:
    """Once for each accepted connection."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def acknowledge_now(connection: socket.socket) -> None:
    """Ask the kernel not to delay its next acknowledgement; it forgets this after each read."""
    if _QUICKACK is not None:
        connection.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)


def read(connection: socket.socket, buffer: memoryview) -> int:
    """Bytes read into `buffer`; 0 when TICK passed without any. Raises Gone."""
    try:
        size = connection.recv_into(buffer)
    except TimeoutError:
        return 0
    except OSError as error:
        raise Gone(str(error)) from None
    if not size:
        raise Gone("closed")
    with contextlib.suppress(OSError):
        acknowledge_now(connection)
    return size


def write(connection: socket.socket, answer: bytes, seconds: float) -> None:
    """Send all of it within `seconds`. Raises Gone or Overdue."""
    end = time.monotonic() + seconds
    rest = memoryview(answer)
    while rest:
        try:
            rest = rest[connection.send(rest) :]
        except TimeoutError:
            if time.monotonic() > end:
                raise Overdue("the peer does not take its answer") from None
        except OSError as error:
            raise Gone(str(error)) from None


def close_gently(connection: socket.socket, seconds: float) -> None:
    """Say that nothing more comes, wait for the peer to close, drop what it still sends; then close.

    Closing with unread bytes would reset the connection and could take our last PDU away from the peer.
    """
    end, room = time.monotonic() + seconds, DROPPED
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        while room > 0 and (left := end - time.monotonic()) > 0:
            connection.settimeout(left)
            if not (part := connection.recv(65536)):
                break
            room -= len(part)
    connection.close()
