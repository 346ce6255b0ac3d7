"""What a Kubernetes API answers besides what was asked for. Wrong credentials and rights are `Refused`."""

from __future__ import annotations

from clara_argo import errors
from clara_argo.errors import Held, NotFound, Refused, TryAgain


class Away(errors.Away):
    """The API server cannot be reached, is overloaded, fails, or does not answer in time.

    `maybe_done`: the request may have been carried out all the same; look before it is sent again.
    """

    def __init__(self, message: str, *, maybe_done: bool = False) -> None:
        super().__init__(message)
        self.maybe_done = maybe_done


class NotHere(NotFound):
    """No object of that name (404)."""


class NoSuchKind(NotHere):
    """The cluster does not know the kind at all: its CRD is not installed, or the version is another (404)."""


class Exists(Held):
    """Something of that name is there already (409)."""


class Conflict(TryAgain):
    """Somebody else changed the object in between, or owns the field (409): read again, decide again."""


class Expired(TryAgain):
    """The version asked for is too old for the server (410). `list` and `watch` deal with it themselves."""


class Invalid(Refused):
    """The server does not take the request as it is (400, 413, 415, 422), or a name cannot be one."""


class NotStarted(TryAgain):
    """The log of a container that does not run yet."""
