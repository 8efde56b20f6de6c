"""Stands in for gcloud on PATH: notes every call, and answers from a scenario.

$FAKE_GCLOUD is a folder. scenario.json maps a kind of call ("describe", "create", "delete", "scp",
"setup", "run", "logs", "list", "read") to its answers in order; the last one is repeated. An answer
is the output, or {"status", "out", "err"}. calls.txt gets one line per call: its kind.
"""

import json
import pathlib
import sys


def kind(words):
    for name in ("describe", "create", "delete", "scp"):
        if name in words:
            return name
    if "storage" in words:
        return {"ls": "list", "cat": "read"}[words[1]]
    shell = next(word for word in words if word.startswith("--command="))
    for script, name in (("startup.sh", "setup"), ("run.sh", "run"), ("run.log", "logs")):
        if script in shell:
            return name
    raise SystemExit(f"unknown call: {words}")


def main(folder, words):
    name = kind(words)
    calls = folder / "calls.txt"
    earlier = calls.read_text().split() if calls.exists() else []
    calls.write_text("".join(f"{each}\n" for each in [*earlier, name]))
    with (folder / "words.jsonl").open("a") as file:
        file.write(json.dumps(words) + "\n")
    answers = json.loads((folder / "scenario.json").read_text()).get(name, [""])
    answer = answers[min(earlier.count(name), len(answers) - 1)]
    if isinstance(answer, str):
        answer = {"out": answer}
    print(answer.get("out", ""))
    print(answer.get("err", ""), file=sys.stderr)
    return answer.get("status", 0)


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]), sys.argv[2:]))
