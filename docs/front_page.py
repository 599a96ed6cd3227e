"""The site's front page is README.md, with the figures that it shows: a hook of MkDocs."""

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
OUTSIDE = ("SECURITY.md", "CHANGELOG.md")


def on_files(files: Any, config: Any) -> Any:
    """Adds README.md as index.md, its links rewritten, and what lies beside it."""
    from mkdocs.structure.files import File

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    pictures = re.findall(r"\]\((metrics/[\w/.]+\.png)\)", text)
    files.append(File.generated(config, "index.md", content=text.replace("](docs/", "](")))
    for page in OUTSIDE:
        content = (ROOT / page).read_text(encoding="utf-8").replace("](docs/", "](")
        files.append(File.generated(config, page, content=content))
    for picture in pictures:
        files.append(File.generated(config, picture, content=(ROOT / picture).read_bytes()))
    return files
