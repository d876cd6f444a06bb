"""Lays the pages of the site out as their sources lie in the repository (a hook of mkdocs).

`docs/weights.md` links to `../model_cards/lwl.md`, as a reader of the repository expects; in the site both keep these
places, so no link is rewritten. A link to a folder leads to the list of its files.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("*.md", "LICENSE", "docs/**/*.md", "model_cards/*.md", "notebooks/*.ipynb", "src/vos_zoo/shipped/**/*.md")
PICTURES = ("docs/assets/*", "model_cards/assets/*", "src/vos_zoo/shipped/*/assets/*")
FOLDERS = {"notebooks": "Notebooks", "model_cards": "Cards"}


@event_priority(100)  # before the plugin that turns notebooks into pages
def on_files(files: Files, config: Any) -> Files:
    """The files of the site: themes' own ones, and ours under their paths in the repository."""
    ours = Files([file for file in files if file.generated_by or file.src_dir != config.docs_dir])
    for pattern in (*PAGES, *PICTURES):
        for path in sorted(ROOT.glob(pattern)):
            uri = path.relative_to(ROOT).as_posix()
            ours.append(File(uri, str(ROOT), config.site_dir, config.use_directory_urls))
    for folder, title in FOLDERS.items():
        ours.append(File.generated(config, f"{folder}/index.md", content=listing(ROOT / folder, title)))
    return ours


def listing(folder: Path, title: str) -> str:
    """A page with a link to each page of a folder."""
    pages = sorted(path for path in folder.iterdir() if path.suffix in {".md", ".ipynb"})
    return "\n".join([f"# {title}", "", *(f"- [{path.stem.replace('_', ' ')}]({path.name})" for path in pages), ""])


def on_page_markdown(markdown: str, **_: Any) -> str:
    """A page's text, with links to folders leading to their lists."""
    names = "|".join(FOLDERS)
    return re.sub(rf"\]\(((?:\.\./)*)({names})/?\)", r"](\1\2/index.md)", markdown)
