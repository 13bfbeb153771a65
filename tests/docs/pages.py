"""Parser for the code blocks and commands of the documentation pages."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
EXAMPLE_PAGE = "examples/loudness_lip_syncer/README.md"
_OTHERS = ("README.md", "CONTRIBUTING.md", EXAMPLE_PAGE, "training/retalkit_training/speech_to_mouth/README.md")
PAGES = (*_OTHERS, *(str(path.relative_to(REPOSITORY)) for path in sorted((REPOSITORY / "docs").rglob("*.md"))))
PROGRAMS = ("make", "mkdocs", "pip", "pytest", "python", "retalkit", "ruff", "sudo", "twine")
"""Program names. Inline code is treated as a command if it consists of a program name and arguments."""

_BLOCK = re.compile(r"^```([a-z]+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.M | re.S)
_INLINE = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.S)
_EXIT_CODE = re.compile(r"# exit code (\d+)")


@dataclass(frozen=True, slots=True)
class Block:
    """Fenced code block. ``title`` is the name of the file to which the block is written, or an empty string."""

    page: str
    language: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Command:
    """Command in a bash block or in inline code."""

    page: str
    text: str
    """Command on a single line, without the comment."""
    words: tuple[str, ...]
    """Program name and arguments, without the output redirection."""
    exit_code: int
    """Expected exit code from the comment, such as ``# exit code 2``. The default is 0."""
    output_file: str = ""
    """File to which the output is redirected (``> FILE``), or an empty string."""

    def starts_with(self, other: Command) -> bool:
        """Return whether this command starts with the words of ``other``.

        Upper-case words in ``other``, such as ``FILE``, are placeholders that match any word.
        """
        return len(other.words) <= len(self.words) and all(
            word == own or word.isupper() for word, own in zip(other.words, self.words, strict=False)
        )


def text_of(page: str) -> str:
    return (REPOSITORY / page).read_text(encoding="utf-8")


def blocks(page: str) -> list[Block]:
    """Return the code blocks in page order."""
    text = text_of(page)
    found = [Block(page, *match.groups(default="")) for match in _BLOCK.finditer(text)]
    fences = len(re.findall(r"^ *(?:```|~~~)", text, re.M))
    assert fences == 2 * len(found), (
        f'{page}: cannot parse a code block: start each block with ```LANGUAGE or ```LANGUAGE title="FILE"'
    )
    return found


def commands(block: Block) -> list[Command]:
    """Return the commands in a bash block."""
    return [
        _command(block.page, line)
        for line in re.sub(r"\\\n\s*", "", block.text).splitlines()
        if shlex.split(line, True)
    ]


def _command(page: str, line: str) -> Command:
    expected = _EXIT_CODE.search(line)
    words = shlex.split(line, comments=True)
    output_file = ""
    if ">" in words:
        *words, _, output_file = words
    text = re.split(r"\s+#\s", line)[0].strip()
    return Command(
        page, re.sub(r"\s+", " ", text), tuple(words), int(expected.group(1)) if expected else 0, output_file
    )


def prose_commands(page: str) -> list[Command]:
    """Return the commands in the page's inline code. A command starts with one of ``PROGRAMS``."""
    found = [" ".join(text.split()) for _, text in _INLINE.findall(_BLOCK.sub("", text_of(page)))]
    return [_command(page, text) for text in dict.fromkeys(found) if text.split(" ")[0] in PROGRAMS and " " in text]


def all_commands() -> list[Command]:
    """Return the commands in the bash blocks of all pages."""
    found = [block for page in PAGES for block in blocks(page) if block.language == "bash"]
    return [command for block in found for command in commands(block)]
