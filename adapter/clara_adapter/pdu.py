"""Upper Layer PDUs (PS3.8 9.3) as bytes and values: what an acceptor reads and writes to open and end an association.

Pure: no sockets, no waiting. Every length is checked against what is there before it is used.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from clara_adapter import contexts
from clara_adapter.peer import Refusal

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
HEADER = struct.Struct(">BxI")  # type, length of what follows
ITEM = struct.Struct(">BxH")
FIXED = 68  # protocol version, two titles, reserved: before the first item of an A-ASSOCIATE-RQ

# Reasons of an A-ABORT by the service provider, PS3.8 9.3.8
UNSPECIFIED, UNRECOGNIZED_PDU, UNEXPECTED_PDU, _, UNRECOGNIZED_VALUE, UNEXPECTED_VALUE, INVALID_VALUE = range(7)

UNSUPPORTED_VERSION = Refusal(1, 2, 2, "protocol version not supported")
UNSUPPORTED_CONTEXT = Refusal(1, 1, 2, "application context name not supported")


class Malformed(Exception):
    """The peer broke PS3.8 or a limit: the association is aborted with this reason."""

    def __init__(self, why: str, reason: int = INVALID_VALUE) -> None:
        super().__init__(why)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Proposal:
    """One proposed presentation context."""

    context: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """An A-ASSOCIATE-RQ. `titles`: bytes 4 to 68 of its body, which the answer repeats."""

    called: str
    calling: str
    version: int
    application_context: str
    proposals: tuple[Proposal, ...]
    max_length: int  # of the PDUs the peer wants to receive; 0: any
    roles: tuple[tuple[str, bool], ...]  # SOP class, and whether the peer proposes to be its SCU
    titles: bytes


@dataclass(frozen=True, slots=True)
class Context:
    """One accepted presentation context."""

    abstract_syntax: str
    transfer_syntax: str


def title(raw: bytes) -> str:
    """AE title without padding; bytes outside ASCII come out as \\xNN, so they match no configured title."""
    return raw.decode("ascii", "backslashreplace").strip(" \0")


def _uid(raw: bytes) -> str:
    return raw.decode("ascii", "backslashreplace").rstrip(" \0")


def _items(body: bytes, start: int = 0) -> Iterator[tuple[int, bytes]]:
    while start < len(body):
        if start + 4 > len(body):
            raise Malformed("item header cut short")
        kind, length = ITEM.unpack_from(body, start)
        start += 4
        if start + length > len(body):
            raise Malformed("item longer than its PDU")
        yield kind, body[start : start + length]
        start += length


def read_request(body: bytes) -> Request:
    """The body (without the 6 bytes of header) of an A-ASSOCIATE-RQ. Raises Malformed."""
    if len(body) < FIXED:
        raise Malformed("A-ASSOCIATE-RQ cut short")
    application, proposals = "", {}
    syntaxes: dict[bytes, tuple[str, ...]] = {}
    max_length, roles = 0, ()  # type: tuple[int, tuple[tuple[str, bool], ...]]
    for kind, value in _items(body, FIXED):
        if kind == 0x10:
            application = _uid(value)
        elif kind == 0x20:
            proposal = _read_proposal(value, syntaxes)
            if proposal.context in proposals:
                raise Malformed("presentation context named twice")
            proposals[proposal.context] = proposal
        elif kind == 0x50:
            max_length, roles = _read_user(value)
    return Request(
        called=title(body[4:20]),
        calling=title(body[20:36]),
        version=int.from_bytes(body[0:2], "big"),
        application_context=application,
        proposals=tuple(proposals.values()),
        max_length=max_length,
        roles=roles,
        titles=bytes(body[4:FIXED]),
    )


def _read_proposal(value: bytes, known: dict[bytes, tuple[str, ...]]) -> Proposal:
    """The abstract syntax comes first (PS3.8 9.3.2.2). `known`: lists of syntaxes of this request that were read
    already; peers repeat one list for each of a hundred classes."""
    if len(value) < 4 or not value[0] & 1:
        raise Malformed("presentation context without an odd number")
    kind, length = ITEM.unpack_from(value, 4) if len(value) >= 8 else (0, 0)
    if kind != 0x30:
        raise Malformed("presentation context without an abstract syntax")
    if 8 + length > len(value):
        raise Malformed("item longer than its PDU")
    rest = value[8 + length :]
    if rest not in known:
        known[rest] = tuple(_uid(name) for kind, name in _items(rest) if kind == 0x40)
    return Proposal(value[0], _uid(value[8 : 8 + length]), known[rest])


def _read_user(value: bytes) -> tuple[int, tuple[tuple[str, bool], ...]]:
    max_length, roles = 0, []
    for kind, body in _items(value):
        if kind == 0x51 and len(body) == 4:
            max_length = int.from_bytes(body, "big")
        elif kind == 0x54 and len(body) >= 4:
            length = int.from_bytes(body[0:2], "big")
            if length + 4 != len(body):
                raise Malformed("role selection of wrong length")
            roles.append((_uid(body[2 : 2 + length]), body[2 + length] == 1))
    return max_length, tuple(roles)


def refusal(request: Request) -> Refusal | None:
    """What PS3.8 itself refuses, before anybody is asked who the peer is."""
    if not request.version & 1:
        return UNSUPPORTED_VERSION
    if request.application_context != contexts.APPLICATION_CONTEXT:
        return UNSUPPORTED_CONTEXT
    return None


def negotiate(request: Request, max_length: int) -> tuple[dict[int, Context], bytes]:
    """The accepted contexts by number, and the A-ASSOCIATE-AC that says so."""
    accepted: dict[int, Context] = {}
    answers = [_item(0x10, contexts.APPLICATION_CONTEXT.encode())]
    for proposal in request.proposals:
        result, syntax = contexts.choose(proposal.abstract_syntax, proposal.transfer_syntaxes)
        if result == contexts.ACCEPTED:
            accepted[proposal.context] = Context(proposal.abstract_syntax, syntax)
        head = bytes((proposal.context, 0, result, 0))
        answers.append(_item(0x21, head + _item(0x40, syntax.encode("ascii", "replace"))))
    answers.append(_user_information(request, max_length))
    body = struct.pack(">HH", 1, 0) + request.titles + b"".join(answers)
    return accepted, HEADER.pack(ASSOCIATE_AC, len(body)) + body


def _user_information(request: Request, max_length: int) -> bytes:
    items = _item(0x51, max_length.to_bytes(4, "big"))
    items += _item(0x52, contexts.IMPLEMENTATION_CLASS_UID.encode())
    items += _item(0x55, contexts.IMPLEMENTATION_VERSION_NAME.encode())
    for sop_class, scu in dict(request.roles).items():  # the peer may be SCU; we are never its SCU
        if sop_class not in contexts.STORAGE_CLASSES:
            continue
        name = sop_class.encode("ascii")
        items += _item(0x54, len(name).to_bytes(2, "big") + name + bytes((scu, 0)))
    return _item(0x50, items)


def _item(kind: int, body: bytes) -> bytes:
    return ITEM.pack(kind, len(body)) + body


def reject(refused: Refusal) -> bytes:
    return HEADER.pack(ASSOCIATE_RJ, 4) + bytes((0, refused.result, refused.source, refused.reason))


def abort(reason: int) -> bytes:
    """A-ABORT by the service provider."""
    return HEADER.pack(ABORT, 4) + bytes((0, 0, 2, reason))


def release_reply() -> bytes:
    return HEADER.pack(RELEASE_RP, 4) + bytes(4)


def command_pdus(context: int, command: bytes, max_length: int) -> bytes:
    """One command set as P-DATA-TF PDUs that the peer can take: one, unless its maximum is tiny."""
    size = max(max_length - 6, 1) if max_length else len(command)
    out = []
    for start in range(0, len(command), size):
        part = command[start : start + size]
        last = start + size >= len(command)
        pdv = struct.pack(">IBB", len(part) + 2, context, 0b11 if last else 0b01) + part
        out.append(HEADER.pack(P_DATA, len(pdv)) + pdv)
    return b"".join(out)
