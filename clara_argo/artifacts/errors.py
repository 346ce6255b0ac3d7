"""What can be wrong with a store, each with what to do. `CODES` says which of S3's answers means which.

`Refused` ones wait for a person, `TryAgain` ones for time; `Damaged` is the end of a job.
"""

from __future__ import annotations

from clara_argo.errors import Away, ClaraError, JobFailed, Refused, TryAgain


class WrongKey(Refused):
    hint = "the store knows no such access key; check access-key in the credentials"


class WrongSecret(Refused):
    hint = "the access key is known, the secret key is not its own; check secret-key in the credentials"


class NoBucket(Refused):
    hint = "the bucket does not exist; make it, or check the bucket's name"


class NoRight(Refused):
    hint = "these credentials may not do that; they need to list, read, write and delete in the bucket"


class WrongClock(Refused):
    hint = "this machine's clock and the store's differ too much; set the clock"


class WrongRegion(Refused):
    hint = "the bucket is in another region; set the region"


class WrongAddress(Refused):
    hint = "no S3 answers there as asked; check the endpoint (host:port), and whether it speaks TLS"


class NotUnderstood(Refused):
    hint = "the store refuses this request"


class NotTrusted(Refused):
    hint = "its certificate is not trusted; name the authority that signed it, a file in PEM form"


class StoreFull(TryAgain):
    hint = "the store is full; make room, or raise its quota"


class StoreAway(Away):
    hint = "the store does not answer, or not in time; try again once it does"


class StoreFails(StoreAway):
    hint = "the store reports a failure of its own, as a full disk can be; see its log, and try again"


class Broken(StoreAway):
    hint = "the connection broke while something came; try again"


class LostReply(StoreAway):
    hint = "the upload is not known any more: it is complete, or was given up; try again"


class Damaged(JobFailed):
    """An object is not what was stored, or not what a stage may hand on."""


CODES: dict[str, type[ClaraError]] = {
    "InvalidAccessKeyId": WrongKey,
    "InvalidAccessKey": WrongKey,
    "InvalidClientTokenId": WrongKey,
    "NotSignedUp": WrongKey,
    "SignatureDoesNotMatch": WrongSecret,
    "NoSuchBucket": NoBucket,
    "InvalidBucketName": NoBucket,
    "AccessDenied": NoRight,
    "AccountProblem": NoRight,
    "AllAccessDisabled": NoRight,
    "RequestTimeTooSkewed": WrongClock,
    "AuthorizationHeaderMalformed": WrongRegion,
    "PermanentRedirect": WrongRegion,
    "Redirect": WrongRegion,
    "TemporaryRedirect": WrongRegion,
    "MethodNotAllowed": WrongAddress,
    "XMinioStorageFull": StoreFull,
    "XMinioAdminBucketQuotaExceeded": StoreFull,
    "InsufficientStorage": StoreFull,
    "QuotaExceeded": StoreFull,
    "QuotaExceededException": StoreFull,
    "StorageFull": StoreFull,
    "InternalError": StoreFails,
    "RequestTimeout": StoreAway,
    "ServiceUnavailable": StoreAway,
    "SlowDown": StoreAway,
    "SlowDownRead": StoreAway,
    "SlowDownWrite": StoreAway,
    "OperationAborted": StoreAway,
    "Busy": StoreAway,
    "XMinioServerNotInitialized": StoreAway,
    "BadDigest": StoreAway,
    "IncompleteBody": StoreAway,
    "NoSuchUpload": LostReply,
    "XAmzContentSHA256Mismatch": StoreAway,
}  # fmt: skip

STATUSES: dict[int, type[ClaraError]] = {
    401: NoRight,
    403: NoRight,
    408: StoreAway,
    413: StoreFull,
    429: StoreAway,
    500: StoreFails,
    502: StoreAway,
    503: StoreAway,
    504: StoreAway,
    507: StoreFull,
}  # fmt: skip  what a store means that gives no code, or one that is not in the table


def of(code: str, status: int, where: str, said: str) -> ClaraError:
    """The error for one answer. `where` names store and bucket, `said` is the answer's own text, bounded here."""
    kind = CODES.get(code) or STATUSES.get(status) or (NotUnderstood if code else WrongAddress)
    told = ", ".join(part for part in (code, f"status {status}" if status else "", said[:200]) if part)
    return kind(f"{where}: {getattr(kind, 'hint', '')} ({told})")
