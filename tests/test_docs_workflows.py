"""docs/workflows.md says what the shipped workflows are, word for word; CLARA_REGENERATE=1 rewrites its second part."""

from __future__ import annotations

import os
from pathlib import Path

from clara_argo import needs, project
from clara_argo.graph import Graph

PAGE = Path(__file__).resolve().parent.parent / "docs" / "workflows.md"
MARK = "<!-- From here on made from the files; tests/test_docs_workflows.py keeps it so. -->\n"


def graphs(folder: Path) -> list[Graph]:
    """Of every shipped workflow, by name."""
    stages = project.stage_specs(folder)
    return [project.resolved(workflow, stages) for workflow in project.workflows(folder)]


def section(graph: Graph) -> str:
    workflow, asked = graph.workflow, needs.of(graph)
    chain = " → ".join(f"`{' '.join([node.name, *node.step.args])}`" for node in graph.nodes)
    return (
        f"\n## {workflow.name}\n\n`{workflow.id}`\n\n"
        f"{chain}\n\n"
        f"In: {', '.join(asked.takes)} · out: {', '.join(asked.gives)} · needs: {asked.machine}\n\n"
        + "\n\n".join(workflow.description.splitlines())
        + "\n"
    )


def test_the_page_is_what_the_files_say(tmp_path: Path) -> None:
    introduction, mark, made = PAGE.read_text().partition(MARK)
    text = "".join(map(section, graphs(tmp_path)))
    if os.environ.get("CLARA_REGENERATE"):
        PAGE.write_text(introduction + mark + text)
        made = text
    assert mark and made == text, "run the test with CLARA_REGENERATE=1"


def test_every_id_of_early_access_is_there(tmp_path: Path) -> None:
    ids = {
        "ct-ai": "0fcdcdea-89c6-456f-b20a-bc7379c54ef2",
        "organ-seg": "1db65f99-c9b7-4329-ab9c-d519e0557638",
        "liver-seg": "fd3ee8bf-b9f3-4808-bd60-243f870ff9bd",
        "ct-partial": "a78b1e7a-0325-4d42-b90f-207eb576b14f",
        "dicom-reader-only": "1995f10e-ee14-4d67-b307-452051637dbb",
        "dicom-reader-writer": "8371285c-8ea8-41cd-958e-44e5664c6ec3",
        "ai-only": "50d31ed4-eeac-47e6-b584-c562f22a0091",
        "dicom-writer-only": "eb66f705-13ea-402c-8baa-143fb3fd9cd5",
        "recon-only": "613e3fce-0d96-495a-a760-f43e68deefd8",
        "recon-ai": "21dd9b92-f307-4e68-ba31-fe8b1449ceea",
    }
    found = {graph.workflow.name: graph.workflow for graph in graphs(tmp_path)}
    assert ids.items() <= {name: workflow.id for name, workflow in found.items()}.items()
    assert all("early-access Clara had this id" in found[name].description for name in ids)
