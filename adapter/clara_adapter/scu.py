"""The storage SCU: files to one destination over one association, an answer for each.

Bytes go out as they are in the file. Every wait has a deadline, what is received has a bound (`transport`). Does not
know what an answer leads to, beyond the three verdicts; nothing is remembered here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pydicom.uid import UID
from pynetdicom import _config, build_context, evt
from pynetdicom.association import Association

from clara_adapter import contexts
from clara_adapter.reactor import repair
from clara_adapter.transport import MAX_PDU, Node, Watchdog, acknowledge_at_once, tune, what_happened
from clara_argo.errors import TryAgain
from clara_argo.model.route import Destination

log = logging.getLogger(__name__)
_config.STORE_SEND_CHUNKED_DATASET = True  # from the file, not through a parsed and re-encoded data set

MAX_CONTEXTS = 128  # PS3.8 9.3.2.2: odd numbers of one byte
NOT_ACCEPTED = 0x0122  # what a destination says by refusing a presentation context (PS3.7 C: SOP class not supported)
WARNINGS = {0x0001, 0x0107, 0x0116}  # stored, with a remark, as is all of 0xBxxx (PS3.4 B.2.3, PS3.7 C)
PROCESSING_FAILURE, DUPLICATE = 0x0110, 0x0111


class Unreachable(TryAgain):
    """No association, or it ended in the middle. `why` says it without the destination's name."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where} {why}")
        self.why = why


class Verdict(StrEnum):
    STORED = "stored"
    AGAIN = "again"
    REFUSED = "refused"


@dataclass(frozen=True, kw_only=True, slots=True)
class Deadlines:
    """Seconds."""

    connect: float = 10.0
    associate: float = 30.0
    answer: float = 120.0  # from the last byte of an instance to its answer
    stall: float = 30.0  # for the destination to take some bytes
    instance: float = 900.0  # for a whole instance, answer included


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A DICOM file (PS3.10) and what its file meta says."""

    key: int
    path: Path
    sop_class: str
    sop_instance: str
    transfer_syntax: str


Answered = Callable[[Outgoing, int | None], None]
Begins = Callable[[Outgoing], None]


def is_warning(status: int) -> bool:
    return status in WARNINGS or status >> 12 == 0xB


def verdict(status: int | None, *, tried_before: bool = False) -> Verdict:
    """What a status means for us (PS3.4 B.2.3, PS3.7 C); None = no answer came, the outcome is unknown.

    "Duplicate" for an instance that was sent before without an answer means that it had arrived.
    """
    if status is None or status == PROCESSING_FAILURE:
        return Verdict.AGAIN
    if status == 0 or is_warning(status) or (status == DUPLICATE and tried_before):
        return Verdict.STORED
    if status >> 12 == 0xA and status >> 8 != 0xA9:
        return Verdict.AGAIN
    return Verdict.REFUSED


class Scu:
    """Sends to one destination. One association at a time; `cut` ends it from another thread."""

    def __init__(self, calling: str, destination: Destination, deadlines: Deadlines | None = None) -> None:
        self._calling, self._destination = calling, destination
        self._deadlines = deadlines or Deadlines()
        self._watchdog: Watchdog | None = None

    def cut(self) -> None:
        watchdog = self._watchdog
        if watchdog is not None:
            watchdog.cut()

    def echo(self) -> int:
        """The status of a C-ECHO. Raises Unreachable."""
        with self._association([("1.2.840.10008.1.1", "1.2.840.10008.1.2")]) as (association, watchdog):
            watchdog.allow(self._deadlines.answer)
            if not association.accepted_contexts:
                raise Unreachable(self._where, "accepts no C-ECHO")
            association.dul.socket.ask()
            status = association.send_c_echo()
            if "Status" not in status:
                why = what_happened(association, watchdog, f"did not answer in {self._deadlines.answer:g} s")
                raise Unreachable(self._where, f"{why} when it was asked for a C-ECHO")
            return int(status.Status)

    def send(
        self,
        files: Sequence[Outgoing],
        answered: Answered,
        go_on: Callable[[], bool] = lambda: True,
        begins: Begins = lambda file: None,
    ) -> None:
        """C-STORE the files in order. `answered` is told each status at once; None once, for the last one tried.
        `begins` is told of each file before its first byte leaves.

        Raises Unreachable when no association came about or it ended early; what was not answered was not stored, as
        far as anybody knows. Ends quietly when `go_on` says no.
        """
        for group in _groups(files):
            wanted = sorted({(file.sop_class, file.transfer_syntax) for file in group})
            with self._association(wanted) as (association, watchdog):
                self._send_group(association, watchdog, group, answered, go_on, begins)

    def _send_group(
        self,
        association: Association,
        watchdog: Watchdog,
        files: Sequence[Outgoing],
        answered: Answered,
        go_on: Callable[[], bool],
        begins: Begins,
    ) -> None:
        accepted = {
            (cx.abstract_syntax, syntax) for cx in association.accepted_contexts for syntax in cx.transfer_syntax
        }
        for number, file in enumerate(files):
            if not go_on():
                return
            if (file.sop_class, file.transfer_syntax) not in accepted:
                answered(file, NOT_ACCEPTED)
                continue
            watchdog.allow(self._deadlines.instance)
            status = self._store(association, file, number % 0xFFFF + 1, begins)
            if status is not None:
                answered(file, status)
                continue
            why = what_happened(association, watchdog, "did not answer within the time limit,")
            answered(file, None)
            raise Unreachable(self._where, f"{why} at instance {number + 1}")

    def _store(self, association: Association, file: Outgoing, message_id: int, begins: Begins) -> int | None:
        if not association.is_established:
            return None
        begins(file)
        association.dul.socket.ask()
        try:
            status = association.send_c_store(file.path, msg_id=message_id)
        except RuntimeError:  # pynetdicom: the association has ended between two calls
            return None
        return int(status.Status) if "Status" in status else None

    @contextmanager
    def _association(self, wanted: Sequence[tuple[str, str]]) -> Iterator[tuple[Association, Watchdog]]:
        watchdog = self._watchdog = Watchdog()
        try:
            watchdog.allow(self._deadlines.connect + self._deadlines.associate)
            association = self._open(wanted, watchdog)
            try:
                yield association, watchdog
            finally:
                watchdog.allow(self._deadlines.associate)
                if association.is_established:
                    association.release()
                self._hang_up(association, watchdog)
        finally:
            self._watchdog = None
            watchdog.end()

    def _open(self, wanted: Sequence[tuple[str, str]], watchdog: Watchdog) -> Association:
        node = Node(self._calling)
        node.connection_timeout, node.acse_timeout = self._deadlines.connect, self._deadlines.associate
        node.dimse_timeout, node.network_timeout = self._deadlines.answer, self._deadlines.instance
        node.implementation_class_uid = UID(contexts.IMPLEMENTATION_CLASS_UID)
        node.implementation_version_name = contexts.IMPLEMENTATION_VERSION_NAME
        try:
            association = node.associate(
                self._destination.host,
                self._destination.port,
                contexts=[build_context(sop_class, syntax) for sop_class, syntax in wanted],
                ae_title=self._destination.ae_title,
                max_pdu=MAX_PDU,
                evt_handlers=[
                    (evt.EVT_CONN_OPEN, tune, [watchdog, self._deadlines.stall]),
                    (evt.EVT_DATA_SENT, acknowledge_at_once),
                ],
            )
        except OSError as error:
            raise Unreachable(self._where, f"cannot be reached: {error.strerror or error}") from error
        if association.is_established:
            return repair(association)
        if association.rejected_contexts:  # it answers, but takes none of these; the library has hung up
            return association
        why = self._why_not(association, watchdog)
        self._hang_up(association, watchdog)
        raise Unreachable(self._where, why)

    def _why_not(self, association: Association, watchdog: Watchdog) -> str:
        """No association came about."""
        if association.is_rejected:
            return f"rejects the association: {_rejection(association)}"
        if not watchdog.connected:
            return "cannot be reached; is it running, and no firewall between?"
        late = f"did not answer in {self._deadlines.associate:g} s"
        return f"{what_happened(association, watchdog, late)} when it was asked for an association"

    def _hang_up(self, association: Association, watchdog: Watchdog) -> None:
        watchdog.cut()
        association.dul.join(timeout=self._deadlines.stall)
        watchdog.close()

    @property
    def _where(self) -> str:
        to = self._destination
        return f"destination {to.name!r} ({to.ae_title} at {to.host}:{to.port})"


def _groups(files: Sequence[Outgoing]) -> Iterator[list[Outgoing]]:
    """As few associations as the number of presentation contexts allows: one, for every usual result."""
    group: list[Outgoing] = []
    seen: set[tuple[str, str]] = set()
    for file in files:
        context = (file.sop_class, file.transfer_syntax)
        if context not in seen and len(seen) == MAX_CONTEXTS:
            yield group
            group, seen = [], set()
        seen.add(context)
        group.append(file)
    if group:
        yield group


def _rejection(association: Association) -> str:
    primitive = association.acceptor.primitive
    if primitive is None:
        return "no reason given"
    return f"result {primitive.result}, source {primitive.result_source}, reason {primitive.diagnostic}"
