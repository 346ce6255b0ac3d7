"""The driver library that operators of Clara Deploy import, for stages of clara-argo.

    driver = clara.Driver(execute_handler=execute)
    driver.start()
    driver.wait_for_completion()

It is a skin over clara_driver, which must be beside it; both run on Python 3.6, which images of Clara's time have.
Folders, locks and exit codes are the driver's; here are only the old names. Not here: FastIO memory, which is refused
by name.
"""

import pkgutil

__path__ = pkgutil.extend_path(__path__, __name__)  # clara.viz and others of that name stay importable

from clara.driver import Driver  # noqa: E402
from clara.payload import Error, Payload, PayloadCollection, PayloadEntry  # noqa: E402

__all__ = ["Driver", "Error", "Payload", "PayloadCollection", "PayloadEntry"]
