"""What ships beside the code: the configurations, one a data set, found by name from anywhere."""

import ast
from pathlib import Path

from attnjax.errors import UserError

PACKAGE = Path(__file__).resolve().parent


def folder() -> Path:
    """Where the configurations lie: in the installed package, or beside it in a checkout."""
    installed = PACKAGE / "configs"
    return installed if installed.is_dir() else PACKAGE.parent / "configs"


def names() -> list[str]:
    """["agnews", "babi", ...]"""
    return sorted(each.stem for each in folder().glob("*.py") if each.stem != "__init__")


def find(wanted: str) -> Path:
    """The file that `--config=WANTED` means: an existing file, or a shipped one by its name.

    wanted  without what follows a colon; a path, or "sst", or "sst.py"
    Raises UserError where there is neither, with the names that there are.
    """
    path = Path(wanted)
    if path.is_file():
        return path
    if path.parent == Path() and path.suffix in ("", ".py") and path.stem in names():
        return folder() / f"{path.stem}.py"
    raise UserError(
        f"config file {wanted} does not exist; give a file, or the name of one that ships with "
        f"attnjax: {', '.join(names())}"
    )


def describe(name: str) -> str:
    """The first line of a configuration's own text."""
    text = find(name).read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
