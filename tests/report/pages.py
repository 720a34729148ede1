"""What HTML and LaTeX make of a page."""

from __future__ import annotations

import html.parser
import re
import shutil
import subprocess
from pathlib import Path


class Page(html.parser.HTMLParser):
    """Notes tags, texts and whether every tag is closed in order."""

    VOID = ("meta", "img", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def compiled(text: str, folder: Path) -> list[str]:
    """Return what LaTeX complains of: errors, and lines too wide; without LaTeX, what stands unbalanced.

    LaTeX is not part of what the tests need; where it is installed it has the last word.
    """
    opened = sorted(re.findall(r"\\begin\{(\w+)\}", text))
    faults = [] if opened == sorted(re.findall(r"\\end\{(\w+)\}", text)) else [f"unbalanced: {opened}"]
    for engine in (["pdflatex", "-interaction=nonstopmode", "-halt-on-error"], ["tectonic", "--print"]):
        if shutil.which(engine[0]) is None:
            continue
        (folder / "page.tex").write_text(text, encoding="utf-8")
        for _ in range(2):
            run = subprocess.run([*engine, "page.tex"], cwd=folder, capture_output=True, text=True, check=False)
        said = run.stdout + run.stderr
        faults += re.findall(r"^(?:! |Overfull .hbox).*", said, flags=re.MULTILINE)
        faults += [] if run.returncode == 0 else [said[-500:]]
        break
    return faults
