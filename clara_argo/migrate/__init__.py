"""Files of any dialect of the Clara line -> our own: `clara migrate`.

Nothing is decided here about what a file means: `formats` reads it, `project` and `graph` resolve it, this package
writes the values down again and says of each key what became of it.
"""

from clara_argo.migrate.files import Migration, migrate
from clara_argo.migrate.rows import Row

__all__ = ["Migration", "Row", "migrate"]
