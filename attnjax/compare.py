"""Writes one report over several finished runs on the same test texts.

python -m attnjax.compare RUN RUN ... [--out=DIR] [--seed=0]

The first RUN is the baseline. Runs that share every field of their configuration but the seed are
seeds of one condition: conditions are compared, over their seeds and the examples; where all runs
are of one condition, each is compared with the first. `comparison.json` holds every number:

settings              seed and resamples of the bootstrap, alpha, and the command
data                  task, source and name of the data, by the first run's configuration
examples, test_examples   how many were analysed (and are compared), and the whole test split
runs                  [{name, folder, condition, seed, test}], test as in the run's results.json
conditions            [{name, runs, seeds}]
config                {field: [one value a run]}, the fields in which runs differ
means                 [{name, runs, of, measure, mean, std, ci95, examples}]: a run's or a
                      condition's; std is over the seeds, null for one; of "score", a pair of
                      explanations such as "attention~gradient", "permutation" or "adversarial"
differences           [{baseline, other, of, measure, baseline_mean, other_mean, difference, ci95,
                      p, p_holm, examples}]: other minus baseline; p_holm over the whole list;
                      null of one run against one, which a second seed may move as far
by_class              [{name, class, of, measure, mean, ci95, examples}]: what is measured of every
                      explanation (faithfulness, continuity, randomisation), by label
cost                  {run: {method: {seconds_per_example, passes}}}
ceiling               [{condition, explanation, measure, mean, ci95, seed_pairs, examples}]:
                      agreement of the same explanation between two seeds, mean over their pairs
divergence            {mean, ci95, largest, examples}: Jensen-Shannon divergence of all runs'
                      attention, in nats; "largest" is its bound, ln(runs)
sentences             [{kind, id, divergence, tokens, query, label, runs: [{name, prediction,
                      probability, attention, importance}]}]: kind "most", "least" or "random"
notes                 what to know when reading the numbers

An interval "ci95" is [low, high] of the 95 % BCa bootstrap over examples, null below 10 of them; of
several seeds it holds their spread as well, by Student's t on a scale that keeps the measure's
range. A number that does not exist is null.
"""

import contextlib
import io
import sys

from attnjax.stop import Stop, Stopped, end, starting

with starting(__name__):
    from absl import flags

    from attnjax.command import guarded, reason_of
    from attnjax.errors import UserError
    from attnjax.runs.compared import compare

USAGE = "usage: python -m attnjax.compare RUN RUN ... [--out=DIR] [--seed=0]"
OUT = "runs/comparison"


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line and returns the exit status: 0, or 2 for a user's mistake.

    arguments  as `sys.argv`, which is the default: the first is the program's name
    """
    arguments = sys.argv if arguments is None else arguments

    def run(stop: Stop) -> None:
        del stop  # it is taken at once: nothing of a comparison is kept before its end
        folders, out, seed = parse_arguments(arguments)
        try:
            compare(folders, out, seed)
        except Stopped:
            raise UserError("stopped before the end; give the same command again") from None

    return guarded(f"{USAGE}\n\n{__doc__}", run, arguments)


def parse_arguments(arguments: list[str]) -> tuple[list[str], str, int]:
    """Returns the folders of the runs, the output folder and the seed.

    Raises UserError for an unknown flag, a value that does not fit, or fewer than two runs.
    """
    values = flags.FlagValues()
    flags.DEFINE_string("out", OUT, "folder of the comparison", flag_values=values)
    flags.DEFINE_integer("seed", 0, "of the bootstrap", lower_bound=0, flag_values=values)
    values.set_gnu_getopt(True)  # flags may follow the folders
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            folders = values(arguments)[1:]
    except flags.Error as error:
        raise UserError(f"bad command line: {reason_of(error)}; {USAGE}") from error
    if len(folders) < 2:
        raise UserError(f"a comparison needs at least two runs, not {len(folders)}; {USAGE}")
    if not values["out"].value:
        raise UserError(f"--out needs a folder; {USAGE}")
    return folders, values["out"].value, int(values["seed"].value or 0)


if __name__ == "__main__":
    end(main())
