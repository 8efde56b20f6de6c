"""The section of the configuration that says what is measured after training."""

from dataclasses import dataclass

from attnjax.fields import LARGEST, MANY, option


@dataclass(frozen=True)
class AnalysisConfig:
    """What is measured on the test split after training."""

    examples: int = option(
        -1,
        "of the test split, at random; -1 takes all, 0 skips the analysis",
        least=0,
        most=MANY,
        unlimited=True,
    )
    methods: tuple[str, ...] = option(
        ("gradient", "leave_one_out"), "how important each word is", registered=True
    )
    questions: tuple[str, ...] = option(
        ("agreement", "permutation", "adversarial_attention", "uniform_attention", "robustness"),
        "what is asked about the model",
        registered=True,
    )
    pairs: tuple[str, ...] = option(
        ("attention",),
        "of explanations, compared by every measure: attention (each kind, with each importance), "
        "all, or names such as attention~gradient; of the others Kendall's tau is told",
    )
    detach_attention: bool = option(
        True, "hold attention constant in gradients, as Jain & Wallace do"
    )
    chunk_size: int = option(
        128,
        "examples in one compiled call: bounds memory, changes no result",
        least=1,
        most=1_000_000,
        incidental=True,
    )
    completeness: float = option(
        0.01,
        "integrated gradients: error of their sum, in probability, down to which the path is cut "
        "finer, at most 512 points",
        least=1e-5,
        most=1.0,
    )
    top_k: int = option(10, "words that the top-k measures look at", least=1, most=1_000_000)
    permutations: int = option(
        100, "of attention, per example; 0 skips the permutation test", least=0, most=1_000_000
    )
    adversaries: int = option(
        5, "attentions sought per example; 0 skips adversarial attention", least=0, most=10_000
    )
    adversary_steps: int = option(500, "of their optimizer", least=1, most=1_000_000)
    adversary_epsilon: float = option(
        0.05, "largest total variation of the output that still counts", least=0.0, most=1.0
    )
    robustness: tuple[float, ...] = option(
        (0.1, 0.3, 1.0, 3.0, 10.0, 30.0),
        "norms of the worst case that accuracy is measured under; empty skips it",
        lists="norms",
        least=0,
        most=LARGEST,
    )
    robustness_steps: int = option(1, "ascent steps of the worst case", least=1, most=10_000)
    lrp_epsilon: float = option(
        0.0,
        "lrp: stabiliser of its denominators; 0 is the exact rule, with gates held",
        least=0.0,
        most=1e6,
    )
    smoothgrad_samples: int = option(50, "smoothgrad: noisy copies", least=2, most=1_000_000)
    smoothgrad_sigma: float = option(
        0.15,
        "smoothgrad: standard deviation of its noise, in the range of all word vectors' entries",
        least=0.0,
        most=1e6,
    )
    smoothgrad_form: str = option(
        "product",
        "smoothgrad: with the vector; norm; root of the mean square; root of the variance",
        choices=("product", "norm", "squared", "variance"),
    )
    lime_samples: int = option(1000, "lime: texts it looks at", least=100, most=1_000_000)
    shapley_orders: int = option(
        20, "shapley: random orders, in pairs of one and its reverse", least=4, most=1_000_000
    )
    mask_price: float = option(
        0.03, "mask, mask_model: of a word, in probability", least=0.0, most=1.0
    )
    mask_steps: int = option(
        100, "mask: of its optimizer, from each of three starts", least=1, most=1_000_000
    )
    mask_goal: str = option(
        "deletion",
        "mask, mask_model: the fewest words without which the class is lost, or that alone keep it",
        choices=("deletion", "preservation"),
    )
    mask_baseline: str = option(
        "zero",
        "mask, mask_model: what stands in a deleted word's place",
        choices=("zero", "mean", "unknown"),
    )
    information_state: str = option(
        "context",
        "information, replacement, jacobian_norm: the state whose knowledge of each word is told",
    )
    information_rate: float = option(
        0.1,
        "information: twice the share of a state's variance that the noise may make up",
        above=0.0,
        below=1.0,
    )
    information_probes: int = option(
        32,
        "information, jacobian_norm: random probes; 0 takes the exact Jacobian",
        least=0,
        most=1_000_000,
    )
    information_steps: int = option(
        0,
        "information: of the optimiser, from the linearised solution, such as 60; 0 keeps that",
        least=0,
        most=1_000_000,
    )
    information_draws: int = option(
        16,
        "information: of noise, in each step and for the distortion that is told",
        least=1,
        most=1_000_000,
    )
    information_whiten: bool = option(
        False,
        "information, replacement, jacobian_norm, concepts: states made uncorrelated, not only "
        "divided by their deviations",
    )
    information_neighbours: int = option(
        0,
        "information: random probes of each token's own state, such as 2, for how much of it comes "
        "from its neighbours; 0 skips it",
        least=0,
        most=1_000_000,
    )
    concepts: str = option(
        "",
        "concepts: a file of word lists, a line each: 'positive: good fine'",
        own=True,
    )
    removal: str = option(
        "delete",
        "faithfulness, continuity: how a word goes: the text closes up, its vector is 0, or it is "
        "unknown",
        choices=("delete", "zero", "unknown"),
    )
    continuity_draws: int = option(
        5,
        "continuity: disturbances of each text, and replacements of one of its words",
        least=1,
        most=1_000_000,
    )
    costly_examples: int = option(
        20,
        "continuity, randomisation: examples, at random, for which methods that take many passes, "
        "such as lime and shapley, are asked again; -1 takes all",
        least=1,
        most=MANY,
        unlimited=True,
    )
    flip_words: int = option(5, "flips: most words that are changed", least=1, most=20)
    flip_neighbours: int = option(
        10, "flips: words that are tried in a word's place", least=1, most=10_000
    )
    flip_similarity: float = option(
        -1.0, "flips: least cosine of a word and what replaces it", least=-1.0, most=1.0
    )
    flip_prior: float = option(
        -1.0,
        "flips: nats by which a replacement may make its text less likely under the bigrams of the "
        "training texts; of all such words those that lower the prediction most, to first order, "
        "are tried; -1: the nearest words",
        least=0.0,
        most=1e6,
        unlimited=True,
    )
    flip_costs: str = option(
        "", "flips: file of words and the cost of changing each; others cost 1", own=True
    )
    influence_examples: int = option(
        10,
        "influence: examples whose loss is asked about, at random; -1 takes all, 0 skips it",
        least=0,
        most=MANY,
        unlimited=True,
    )
    influence_texts: int = option(
        3, "influence: most helpful and most harmful training texts shown", least=1, most=1000
    )
    influence_damping: float = option(
        0.01, "influence: added to the diagonal of the Hessian", least=0.0, most=1e6
    )
    influence_leverage: bool = option(
        False,
        "influence of the last layer: a removal takes Newton's step instead of its first order",
    )
    influence_check: int = option(
        0, "influence: removals that are retrained, to compare with", least=0, most=100_000
    )
    influence_planted: float = option(
        0.05,
        "influence: share of labels made wrong, to see whether self-influence finds them; 0: none",
        least=0.0,
        most=0.5,
    )
    influence_scope: str = option(
        "last_layer",
        "influence: of the last layer, exactly; of all parameters, by conjugate gradients; or by "
        "the gradients at the checkpoints that the run kept (TracIn)",
        choices=("last_layer", "all", "tracin"),
    )
    influence_target: str = option(
        "loss",
        "influence: on an example's loss, or on -ln of the attention to its most attended word",
        choices=("loss", "attention"),
    )
    influence_tolerance: float = option(
        1e-4, "influence: residual at which conjugate gradients stop", least=1e-14, most=0.5
    )
    influence_iterations: int = option(
        200, "influence: most steps of conjugate gradients", least=1, most=1_000_000
    )
    influence_curvature: int = option(
        1000,
        "influence: training texts, at random, that the matrix of all parameters is of; -1: all",
        least=1,
        most=MANY,
        unlimited=True,
    )
    head_permutations: int = option(
        10,
        "self_attention: shuffles of what each head attends to, per example; 0 skips it",
        least=0,
        most=1_000_000,
    )
    keep_self_attention: bool = option(
        False,
        "write every analysed text's self-attention to analysis/self_attention.npz, not only that "
        "of the texts in the report",
    )
    bottleneck_price: float = option(
        0.1,
        "bottleneck: of the mean nats that a unit lets through, in nats of the prediction",
        least=0.0,
        most=1e6,
    )
    bottleneck_steps: int = option(10, "bottleneck: of its optimizer", least=1, most=1_000_000)
    bottleneck_draws: int = option(
        10, "bottleneck: of noise, in each step", least=1, most=1_000_000
    )
    prototype_words: int = option(5, "prototypes: words of a prototype", least=1, most=100)
    prototype_restarts: int = option(
        16, "prototypes: random starts of each search, all at once", least=1, most=10_000
    )
    prototype_steps: int = option(300, "prototypes: of each ascent", least=1, most=1_000_000)
    prototype_norm: float = option(
        0.001,
        "prototypes: price of a free vector's squared norm, halved, in variances of the words'",
        least=0.0,
        most=1e6,
    )
    prototype_prior: float = option(
        0.1,
        "prototypes: weight of a text's log-probability under the bigrams of the training texts",
        least=0.0,
        most=1e6,
    )
    prototype_ngrams: int = option(
        100_000,
        "prototypes: n-grams of the data that are read, at random; -1 takes all",
        least=1,
        most=MANY,
        unlimited=True,
    )
    prototype_shown: int = option(
        3, "prototypes: of each kind that are told, the best", least=1, most=1000
    )
    mask_model_steps: int = option(
        300, "mask_model: training steps, each of a batch of training texts", least=1, most=MANY
    )
