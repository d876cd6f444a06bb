"""Runs the notebooks and keeps their outputs, without traces of the machine: `python docs/_site/run_notebooks.py`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from tqdm import tqdm

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"


def run(path: Path) -> None:
    """Execute a notebook in its folder and write it with the outputs."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(FOLDER)}}).execute()
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata = nbformat.from_dict({"kernelspec": kernel, "language_info": {"name": "python"}})
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({})
        for output in cell.get("outputs", []):
            if "text" in output:
                output.text = without_paths(output.text)
            for kind in ("text/plain", "text/markdown"):
                if kind in output.get("data", {}):
                    output.data[kind] = without_paths(output.data[kind])
    nbformat.write(notebook, path)


def without_paths(text: str) -> str:
    """A text with temporary folders called WORK."""
    return re.sub(r"/[\w/.-]*/tmp\w{8}\b|/tmp/tmp\w{8}\b", "WORK", text)


if __name__ == "__main__":
    for notebook_path in tqdm([Path(name) for name in sys.argv[1:]] or sorted(FOLDER.glob("*.ipynb")), unit="notebook"):
        run(notebook_path)
