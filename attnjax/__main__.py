"""The command `attnjax`, also `python -m attnjax`: one word for each thing that can be done.

attnjax train --config=NAME [--workdir=DIR] [--config.FIELD=VALUE ...]   as attnjax.main
attnjax analyze --workdir=DIR [--input=FILE | --text=TEXT]               as attnjax.analyze
attnjax compare RUN RUN ... [--out=DIR]                                  as attnjax.compare
attnjax sweep --config=NAME --sweep.epsilon=0:30:100                     as attnjax.sweep
attnjax configs [NAME]           lists the configurations that ship; with a name, prints one
attnjax notebook                 writes attention.ipynb, a first tour, into this folder
attnjax completion bash|zsh      prints what makes a shell complete all this by the tab key:
                                 eval "$(attnjax completion bash)"

attnjax COMMAND --help tells more; attnjax --version says which version this is.
"""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

from attnjax import shipped
from attnjax.errors import UserError
from attnjax.stop import end, settle_streams, starting, tell

NOTEBOOK = "attention.ipynb"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit status: 0, or 2 for a user's mistake.

    arguments  as `sys.argv`, which is the default: the first is the program's name
    """
    program, *rest = sys.argv if arguments is None else arguments
    command = rest[0] if rest else "--help"
    try:
        if command in ("--help", "-h", "--helpfull", "help"):
            print(__doc__)
            return 0
        if command == "--version":
            print(f"attnjax {version('attnjax')}")
            return 0
        if command in SHORT:
            SHORT[command](rest[1:])
            return 0
        if command not in LONG:
            raise UserError(f"no command '{command}'; there are {', '.join([*LONG, *SHORT])}")
    except BrokenPipeError:  # `| head` is no failure
        return 0
    except UserError as error:
        tell(f"attnjax: error: {error}")
        return 2
    except OSError as error:
        tell(f"attnjax: error: nothing can be printed ({error.strerror or error}); mend that")
        return 2
    return _main_of(LONG[command])([f"{program} {command}", *rest[1:]])


def configs(arguments: Sequence[str]) -> None:
    """Prints every shipped configuration's name and first line, or the whole text of one."""
    if arguments:
        _only("configs [NAME]", arguments, 1)
        print(shipped.find(arguments[0]).read_text(encoding="utf-8"), end="")
        return
    width = max(map(len, shipped.names()))
    for name in shipped.names():
        print(f"{name:{width}}  {shipped.describe(name)}")


def notebook(arguments: Sequence[str]) -> None:
    """Writes the notebook into the current folder; raises UserError where there is one already."""
    _only("notebook", arguments, 0)
    text = (shipped.PACKAGE / NOTEBOOK).read_bytes()
    try:
        with Path(NOTEBOOK).open("xb") as file:
            file.write(text)
    except FileExistsError:
        raise UserError(f"{NOTEBOOK} exists in this folder; move it away first") from None
    except OSError as error:
        raise UserError(f"{NOTEBOOK}: {error.strerror}") from None
    print(f"wrote {NOTEBOOK}; open it with jupyter")


def completion(arguments: Sequence[str]) -> None:
    """Prints the shell's script."""
    from attnjax.completion import SHELLS, script  # imported late: it reads all the tables

    _only("completion bash|zsh", arguments, 1)
    if not arguments or arguments[0] not in SHELLS:
        raise UserError(f"attnjax completion needs a shell: {' or '.join(SHELLS)}")
    print(script(arguments[0], [*LONG, *SHORT]))


def _only(usage: str, arguments: Sequence[str], most: int) -> None:
    if len(arguments) > most or any(each.startswith("-") for each in arguments):
        raise UserError(f"unexpected argument '{arguments[-1]}'; usage: attnjax {usage}")


def _main_of(name: str) -> Callable[[list[str]], int]:
    """The function `main` of a module, imported only now: it starts JAX, which takes seconds."""
    with starting("__main__"):
        return import_module(f"attnjax.{name}").main


LONG = {"train": "main", "analyze": "analyze", "compare": "compare", "sweep": "sweep"}
SHORT = {"configs": configs, "notebook": notebook, "completion": completion}


def run() -> NoReturn:
    """The installed command `attnjax`."""
    settle_streams()
    end(main())


if __name__ == "__main__":
    run()
