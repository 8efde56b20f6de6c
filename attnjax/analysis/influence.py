"""What a model would have been without a training example, of its last layer alone.

Given what comes in, the decoder's last map with a softmax is convex: with H the Hessian of the mean
loss plus damping and g_i the gradient of example i's loss, leaving i out of n moves the parameters
by H^-1 g_i / n and the loss of a text with gradient g by g' H^-1 g_i / n (Koh & Liang,
arXiv:1703.04730, eq. 2 times -1/n). Positive: the example helps. NumPy in float64 throughout.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from attnjax.errors import UserError

STEPS = 60  # of Newton's method; from where the model is it takes a handful
HALVINGS = 30
LARGEST = 8192  # parameters whose exact Hessian is made: 0.5 GB


class Problem(NamedTuple):
    """Examples as the last layer sees them.

    inputs   [rows, width], the last column 1, for the bias; labels  [rows] class numbers
    classes  how many; shared  whether two of them share one logit z, as [0, z]
    allowed  [rows, classes] True on the answers to choose from, or None
    """

    inputs: Float[np.ndarray, "rows width"]
    labels: Int[np.ndarray, " rows"]
    classes: int
    shared: bool
    allowed: Bool[np.ndarray, "rows classes"] | None = None

    @property
    def columns(self) -> int:
        """How many logits are trained."""
        return 1 if self.shared else self.classes


Weights = Float[np.ndarray, "columns width"]


class Head(NamedTuple):
    """Derivatives of each row's loss by its logits.

    losses  [rows]; errors  [rows, columns] the first, probability less label
    curvature  [rows, columns, columns] the second, diag p - p p'
    """

    losses: Float[np.ndarray, " rows"]
    errors: Float[np.ndarray, "rows columns"]
    curvature: Float[np.ndarray, "rows columns columns"]


def head(problem: Problem, weights: Weights) -> Head:
    """The derivatives at these weights."""
    logits = problem.inputs @ weights.T
    if problem.shared:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    if problem.allowed is not None:
        logits = np.where(problem.allowed, logits, -np.inf)
    logits = logits - logits.max(axis=1, keepdims=True)
    share = np.exp(logits)
    total = share.sum(axis=1, keepdims=True)
    share /= total
    rows = np.arange(len(logits))
    losses = np.log(total[:, 0]) - logits[rows, problem.labels]
    target = np.zeros_like(share)
    target[rows, problem.labels] = 1
    first = 1 if problem.shared else 0
    errors, share = (share - target)[:, first:], share[:, first:]
    curvature = -share[:, :, None] * share[:, None, :]
    places = np.arange(share.shape[1])
    curvature[:, places, places] += share
    return Head(losses, errors, curvature)


def gradients(problem: Problem, found: Head) -> Float[np.ndarray, "rows parameters"]:
    """Each row's gradient by the weights, flat."""
    return (found.errors[:, :, None] * problem.inputs[:, None, :]).reshape(len(found.errors), -1)


def hessian(problem: Problem, found: Head, damping: float) -> np.ndarray:
    """[parameters, parameters] of the mean loss, plus damping on the diagonal.

    Raises UserError for more than LARGEST parameters.
    """
    width, columns = problem.inputs.shape[1], problem.columns
    if columns * width > LARGEST:
        raise UserError(
            f"influence: the last layer has {columns * width:,} parameters, and the exact Hessian "
            f"is made of at most {LARGEST:,}; leave influence out of analysis.questions"
        )
    whole = np.empty((columns, width, columns, width))
    for one in range(columns):
        for other in range(one, columns):
            weighed = problem.inputs * found.curvature[:, one, other, None]
            block = problem.inputs.T @ weighed / len(problem.inputs)
            whole[one, :, other] = block
            whole[other, :, one] = block.T
    whole = whole.reshape(columns * width, columns * width)
    whole[np.diag_indices_from(whole)] += damping
    return whole


def factored(whole: np.ndarray, damping: float) -> Any:
    """Cholesky's factor; raises UserError, with the smallest damping that works, where it fails."""
    from scipy import linalg  # imported late: slow to load

    size = len(whole)
    try:
        factor = linalg.cho_factor(whole, lower=True)
        condition = np.square(np.abs(np.diag(factor[0])))
        if condition.min() <= size * np.finfo(float).eps * condition.max():
            raise linalg.LinAlgError
        return factor
    except linalg.LinAlgError as error:
        values = linalg.eigvalsh(whole)
        least = damping - values[0] + 10 * size * np.finfo(float).eps * values[-1]
        raise UserError(
            f"influence: the Hessian is not positive with analysis.influence_damping={damping:g}; "
            f"the smallest that works is about {max(least, 1e-12):.2g}"
        ) from error


def inverse(whole: np.ndarray, damping: float) -> np.ndarray:
    """H^-1 by Cholesky; raises UserError as `factored`."""
    from scipy import linalg

    return linalg.cho_solve(factored(whole, damping), np.eye(len(whole)))


def own(problem: Problem, inverted: np.ndarray) -> Float[np.ndarray, "rows columns columns"]:
    """x' H^-1 x / n of each row, for every two columns: what its own logits feel of it."""
    columns, width = problem.columns, problem.inputs.shape[1]
    blocks = inverted.reshape(columns, width, columns, width)
    found = np.empty((len(problem.inputs), columns, columns))
    for one in range(columns):
        for other in range(columns):
            seen = problem.inputs @ blocks[one, :, other]
            found[:, one, other] = np.einsum("nw,nw->n", seen, problem.inputs)
    return found / len(problem.inputs)


def self_influence(
    problem: Problem, found: Head, inverted: np.ndarray
) -> Float[np.ndarray, " rows"]:
    """Rise of each row's own loss if it were left out: g' H^-1 g / n, at least 0."""
    each = own(problem, inverted)
    return np.einsum("nc,ncd,nd->n", found.errors, each, found.errors)


def corrected(problem: Problem, found: Head, inverted: np.ndarray) -> Head:
    """Errors with which the step of a removal is Newton's own, not its first order.

    Without row i the Hessian is smaller by what i gives it: by Woodbury's identity the error e
    becomes (I - A K)^-1 e, A its curvature and K of `own`; with one logit, e / (1 - leverage).
    """
    lever = np.einsum("ncd,nde->nce", found.curvature, own(problem, inverted))
    whole = np.eye(problem.columns)[None] - lever
    return found._replace(errors=np.linalg.solve(whole, found.errors[..., None])[..., 0])


def solutions(
    problem: Problem, found: Head, inverted: np.ndarray
) -> Float[np.ndarray, "rows columns width"]:
    """H^-1 g of each row of a problem."""
    each = gradients(problem, found) @ inverted
    return each.reshape(len(each), problem.columns, -1)


def effects(
    problem: Problem, found: Head, solved: Float[np.ndarray, "tests columns width"]
) -> Float[np.ndarray, "rows tests"]:
    """Change of each test row's loss, in nats, if a row were left out; solved  of `solutions`."""
    total = np.zeros((len(problem.inputs), len(solved)))
    for column in range(problem.columns):
        total += found.errors[:, column, None] * (problem.inputs @ solved[:, column].T)
    return total / len(problem.inputs)


def fit(
    problem: Problem,
    start: Weights,
    damping: float,
    shares: np.ndarray | None = None,
    centre: Weights | float = 0.0,
) -> Weights:
    """Newton's method from `start` on sum of shares x losses / n plus damping |w - centre|^2 / 2.

    shares  [rows] 1 for rows that count, 0 for those left out; all count without it
    Raises UserError where the Hessian is not positive on the way: without damping, classes that can
    be told apart have no optimum.
    """
    from scipy import linalg

    rows = len(problem.inputs)
    share = np.ones(rows) if shares is None else shares
    weights = start

    def objective(weights: Weights) -> float:
        losses = head(problem, weights).losses
        return float(share @ losses / rows + damping / 2 * np.square(weights - centre).sum())

    value = objective(weights)
    for _ in range(STEPS):
        found = head(problem, weights)
        counted = found._replace(
            errors=found.errors * share[:, None],
            curvature=found.curvature * share[:, None, None],
        )
        slope = counted.errors.T @ problem.inputs / rows + damping * (weights - centre)
        factor = factored(hessian(problem, counted, damping), damping)
        step = linalg.cho_solve(factor, slope.ravel()).reshape(weights.shape)
        for halving in range(HALVINGS):
            nearer = weights - step / 2**halving
            if (reached := objective(nearer)) <= value:
                break
        else:
            return weights
        weights, value = nearer, reached
        if np.abs(step).max() < 1e-10 * max(1.0, np.abs(weights).max()):
            break
    return weights


class Checked(NamedTuple):
    """Predicted against retrained removals: Pearson's r and the slope through 0, None undefined.

    unfinished  of the trainings, how many have not come to a minimum
    """

    removals: int
    pearson: float | None
    slope: float | None
    unfinished: int = 0


def removed(
    predicted: Float[np.ndarray, "rows tests"], count: int, random: np.random.Generator
) -> Int[np.ndarray, " removals"]:
    """So many rows: half of them those of the largest predicted effects, half at random."""
    largest = np.argsort(-np.abs(predicted).max(axis=1), kind="stable")[: -(-count // 2)]
    others = np.setdiff1d(np.arange(len(predicted)), largest)
    return np.concatenate([largest, random.permutation(others)[: count - len(largest)]])


def compared(
    rows: Int[np.ndarray, " removals"],
    real: Float[np.ndarray, " effects"],
    told: Float[np.ndarray, " effects"],
) -> Checked:
    """The effects of retraining without these rows beside those that were predicted."""
    if len(real) < 2 or real.std() == 0 or told.std() == 0:
        return Checked(len(rows), None, None)
    slope = float(real @ told / (told @ told))
    return Checked(len(rows), float(np.corrcoef(real, told)[0, 1]), slope)


def check(
    problem: Problem,
    test: Problem,
    weights: Weights,
    predicted: Float[np.ndarray, "rows tests"],
    damping: float,
    count: int,
    random: np.random.Generator,
) -> Checked:
    """Leaves out `count` rows, half of the largest predicted effect and half at random, and refits.

    weights    those that the effects were predicted at: the damping holds the fits there, as in
               the formula (see `removals`)
    predicted  of `effects`; the change is taken from the fit with all rows
    """
    whole = fit(problem, weights, damping, centre=weights)
    before, actual = head(test, whole).losses, []
    rows = removed(predicted, count, random)
    for row in rows:
        shares = np.ones(len(problem.inputs))
        shares[row] = 0
        left = fit(problem, whole, damping, shares, centre=weights)
        actual.append(head(test, left).losses - before)
    return compared(rows, np.concatenate(actual), predicted[rows].ravel())


class Planted(NamedTuple):
    """How well wrong labels are found that were planted, as areas under the ROC curve."""

    labels: int
    self_influence: float
    loss: float


def planted(
    problem: Problem,
    weights: Weights,
    damping: float,
    share: float,
    random: np.random.Generator,
) -> Planted | None:
    """Gives that share of the rows another label, fits the last layer anew, and looks for them.

    None where this makes no row wrong, or all.
    """
    from sklearn import metrics  # imported late, as in `metrics`

    rows = len(problem.labels)
    wrong = random.permutation(rows)[: round(share * rows)]
    if not 0 < len(wrong) < rows or problem.classes < 2:
        return None
    labels = problem.labels.copy()
    labels[wrong] = (labels[wrong] + random.integers(1, problem.classes, len(wrong))) % (
        problem.classes
    )
    if problem.allowed is not None:  # a wrong answer is one of those to choose from
        kept = problem.allowed[np.arange(rows), labels]
        labels = np.where(kept, labels, problem.labels).astype(labels.dtype)
    where = labels != problem.labels
    if not where.any():
        return None
    other = problem._replace(labels=labels)
    there = fit(other, weights, damping)
    found = head(other, there)
    inverted = inverse(hessian(other, found, damping), damping)
    return Planted(
        int(where.sum()),
        float(metrics.roc_auc_score(where, self_influence(other, found, inverted))),
        float(metrics.roc_auc_score(where, found.losses)),
    )
