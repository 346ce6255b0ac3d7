"""Where things are in an SDK folder, as the article names them; both of its spellings of the workflow folder count.
And where the programs of stages are, in a project of any kind.

DIR/clara-reference-workflow/charts/clara-workflow/values.yaml    stages and workflows
DIR/clara-platform/files/dicom-server-config.yaml                 who may send what, and where results go
DIR/stages/NAME                                                   the programs of stages, ours
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from clara_argo import shipped
from clara_argo.errors import NotFound, UsageError

CHARTS = ("clara-reference-workflow", "clara-reference-workflows")
VALUES = Path("charts/clara-workflow/values.yaml")
ADAPTER = Path("clara-platform/files/dicom-server-config.yaml")
STAGES, STAGE_FILE = "stages", "stage.yaml"


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """One SDK folder; `values` is the file with its stages and workflows."""

    root: Path
    values: Path

    @property
    def shown(self) -> str:
        """The file as messages name it: relative to where the user is, when it is below."""
        try:
            return str(self.values.relative_to(Path.cwd()))
        except (ValueError, OSError):
            return str(self.values)

    @property
    def stages(self) -> Path:
        return self.root / STAGES


def values_of(root: Path) -> tuple[Path, ...]:
    """The files with stages and workflows of an SDK folder; none when the folder is something else."""
    return tuple(path for path in (root / chart / VALUES for chart in CHARTS) if path.is_file())


def find(start: Path) -> Layout:
    """The SDK folder that `start` lies in. Raises NotFound, UsageError when it has both spellings."""
    start = start.resolve()
    for root in (start, *start.parents):
        found = values_of(root)
        if len(found) > 1:
            both = " and ".join(str(path.relative_to(root)) for path in found)
            raise UsageError(f"{root} holds {both}; put what you need into one of them and remove the other")
        if found:
            return Layout(root=root, values=found[0])
    wanted = f"{CHARTS[0]}/{VALUES}"
    raise NotFound(f"{start} is in no SDK folder (there is no {wanted} here or above); clara init --sdk DIR makes one")


def stage_folders(root: Path) -> dict[str, Path]:
    """Every stage that a workflow of a project may use, by name: the shipped ones, and the project's before them.

    Raises UsageError for a folder of stages that cannot be looked into.
    """
    return dict(sorted((_in(shipped.folder(STAGES)) | _in(root / STAGES)).items()))


def shipped_stages() -> frozenset[str]:
    return frozenset(_in(shipped.folder(STAGES)))


def _in(folder: Path) -> dict[str, Path]:
    """Raises UsageError for what cannot be looked into: a stage of that name would be looked for somewhere else."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
        return {name: folder / name for name in names if _is_stage(folder / name)}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        hint = "stages may be there: change its permissions, or move it away"
        raise UsageError(f"{error.filename}: {error.strerror}; {hint}") from None


def _is_stage(folder: Path) -> bool:
    """Raises PermissionError for a folder that may be one; `lost+found` of a volume is none."""
    try:
        return (folder / STAGE_FILE).exists()
    except PermissionError:
        from clara_argo.formats.stage import FOLDER_NAME  # rarely wanted

        if FOLDER_NAME.fullmatch(folder.name):
            raise
        return False
