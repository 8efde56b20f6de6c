"""What the shells need to complete a command line: commands, flags, fields and their choices."""

from collections.abc import Sequence

import attnjax.pipeline  # noqa: F401  whose tables fill `checks.REGISTERED`
from attnjax import shipped
from attnjax.checks import choices_of
from attnjax.config import OPTIONS
from attnjax.sweeps.points import SETTINGS, VARY

BASH = """\
# eval "$(attnjax completion bash)"
_attnjax() {{
  local line="${{COMP_LINE:0:COMP_POINT}}" word head value
  word="${{line##* }}"
  value="${{word#*=}}"
  head=""
  [[ $value == *,* ]] && head="${{value%,*}},"
  COMPREPLY=()
  if [[ $line != *' '*' '* ]]; then
    COMPREPLY=($(compgen -W "{commands}" -- "$word"))
    return
  fi
  case "$word" in
{values}
    *=*) COMPREPLY=($(compgen -f -- "$value")) ;;
    -*) compopt -o nospace; COMPREPLY=($(compgen -W "{flags}" -- "$word")) ;;
    *) COMPREPLY=($(compgen -f -- "$word")) ;;
  esac
}}
complete -o filenames -F _attnjax attnjax
"""
BASH_VALUE = '    {flag}*) COMPREPLY=($(compgen -P "$head" -W "{words}" -- "${{value##*,}}")) ;;'
ZSH = """\
# eval "$(attnjax completion zsh)"
_attnjax() {{
  if (( CURRENT == 2 )); then
    compadd -- {commands}
    return
  fi
  case $PREFIX in
{values}
    *=*) compset -P '*='; _files ;;
    -*) compadd -S '' -- {flags} ;;
    *) _files ;;
  esac
}}
compdef _attnjax attnjax
"""
ZSH_VALUE = "    {flag}*) compset -P '*='; compset -P '*,'; compadd -- {words} ;;"
SHELLS = {"bash": (BASH, BASH_VALUE), "zsh": (ZSH, ZSH_VALUE)}
FLAGS = (
    *("workdir", "input", "text", "explanations", "export", "output", "second", "pretrained"),
    *("out", "seed"),
)


def script(shell: str, commands: Sequence[str]) -> str:
    """The script of a shell of `SHELLS`; a field's choices are those of this version."""
    whole, one = SHELLS[shell]
    known = {"config": shipped.names()}
    for name, option in OPTIONS.items():
        choices = choices_of(name, option)
        if isinstance(option.default, bool):
            choices = ("True", "False")
        known[f"config.{name}"] = [each for each in choices if each]
    flags = [*known, *FLAGS, *(f"sweep.{each}" for each in (*VARY, *SETTINGS, "memory"))]
    values = [
        one.format(flag=f"--{name}=", words=" ".join(words))
        for name, words in known.items()
        if words
    ]
    return whole.format(
        commands=" ".join(commands),
        flags=" ".join(f"--{each}=" for each in flags),
        values="\n".join(values),
    )
