"""What the documents hold: their code blocks, and the commands in those and in the text between them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
EXAMPLE_PAGE = "examples/loudness_lip_syncer/README.md"
_OTHERS = ("README.md", "CONTRIBUTING.md", EXAMPLE_PAGE, "training/speech_to_mouth/README.md")
PAGES = (*_OTHERS, *(str(path.relative_to(REPOSITORY)) for path in sorted((REPOSITORY / "docs").rglob("*.md"))))
PROGRAMS = ("make", "mkdocs", "pip", "pytest", "python", "retalkit", "ruff", "sudo", "twine")
"""What commands in the text begin with."""

_BLOCK = re.compile(r"^```([a-z]+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.M | re.S)
_INLINE = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.S)
_EXIT_CODE = re.compile(r"# exit code (\d+)")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block. One with a title is a file of that name, which the page tells the reader to write."""

    page: str
    language: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a bash block, or of the text."""

    page: str
    text: str
    """Without its comment, lines joined."""
    words: tuple[str, ...]
    """Without the redirection of its output."""
    code: int
    """The exit code that the page announces (``# exit code 2``); else 0."""
    into: str = ""
    """File that its output goes to (``> FILE``)."""

    def is_begun_by(self, other: Command) -> bool:
        """Whether ``other`` is this command or its beginning; words in capitals (``FILE``) stand for any."""
        return len(other.words) <= len(self.words) and all(
            word == own or word.isupper() for word, own in zip(other.words, self.words, strict=False)
        )


def text_of(page: str) -> str:
    return (REPOSITORY / page).read_text(encoding="utf-8")


def blocks(page: str) -> list[Block]:
    """In the order of the page."""
    text = text_of(page)
    found = [Block(page, *match.groups(default="")) for match in _BLOCK.finditer(text)]
    fences = len(re.findall(r"^ *(?:```|~~~)", text, re.M))
    assert fences == 2 * len(found), f'{page}: a code block that tests cannot read: ```LANGUAGE title="FILE" at most'
    return found


def commands(block: Block) -> list[Command]:
    """What a bash block asks the reader to type."""
    return [
        _command(block.page, line)
        for line in re.sub(r"\\\n\s*", "", block.text).splitlines()
        if shlex.split(line, True)
    ]


def _command(page: str, line: str) -> Command:
    announced = _EXIT_CODE.search(line)
    words = shlex.split(line, comments=True)
    into = ""
    if ">" in words:
        *words, _, into = words
    text = re.split(r"\s+#\s", line)[0].strip()
    return Command(page, re.sub(r"\s+", " ", text), tuple(words), int(announced.group(1)) if announced else 0, into)


def prose_commands(page: str) -> list[Command]:
    """What the text between the blocks names as a command with arguments: code that begins with one of ``PROGRAMS``."""
    found = [" ".join(text.split()) for _, text in _INLINE.findall(_BLOCK.sub("", text_of(page)))]
    return [_command(page, text) for text in dict.fromkeys(found) if text.split(" ")[0] in PROGRAMS and " " in text]


def all_commands() -> list[Command]:
    """Of the blocks of every page."""
    found = [block for page in PAGES for block in blocks(page) if block.language == "bash"]
    return [command for block in found for command in commands(block)]
