"""The documents say what is: every command is in docs/commands.md, and links and commands lead somewhere.

CLARA_REGENERATE=1 rewrites docs/commands.md.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import click
import pytest

from clara_argo.cli import COMMANDS, clara_wf, main

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("stages/*/*.md"), *ROOT.glob("adapter/*.md")]
)
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)\)")


def command_pages(command: click.Command, name: str, parent: click.Context | None = None) -> list[str]:
    context = click.Context(command, info_name=name, parent=parent, **command.context_settings)
    context.terminal_width = 100
    path = context.command_path
    page = f"## `{path}`\n\n```text\n{command.get_help(context).rstrip()}\n```\n"
    pages = [page]
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            child = command.get_command(context, below)
            assert child is not None
            pages += command_pages(child, below, context)
    return pages


def all_commands() -> str:
    pages = [*command_pages(main, "clara"), *command_pages(clara_wf.main, "clara-wf")]
    return "# Commands\n\nMade from `clara --help` and `clara-wf --help`; a test keeps it so.\n\n" + "\n".join(pages)


def test_commands_page_is_what_the_commands_say() -> None:
    page, text = ROOT / "docs" / "commands.md", all_commands()
    if os.environ.get("CLARA_REGENERATE"):
        page.write_text(text)
    assert page.read_text() == text, "run the test with CLARA_REGENERATE=1"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    links = [link for link in LINK.findall(document.read_text()) if not link.startswith(("http", "mailto"))]
    missing = [link for link in links if not (document.parent / link).exists()]
    assert not missing


def test_make_targets_of_the_readme_exist() -> None:
    wanted = set(re.findall(r"`?make ([a-z-]+)`?", (ROOT / "README.md").read_text()))
    for target in wanted - {"up"}:
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, timeout=60, check=True)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_in_the_text_exist(document: Path) -> None:
    words = {"clara": COMMANDS, "clara-wf": {**clara_wf.COMMANDS, **clara_wf.Words.aliases}}
    typed = re.findall(r"^(?:\$ )?(?:\.venv/bin/)?(clara(?:-wf)?) ([a-z_-]+)", document.read_text(), re.MULTILINE)
    assert all(command in words[program] for program, command in typed)
