"""The one declaration of what strategies, partitions and optimisers exist and what they take.

A suite is checked against it, ``bench schema`` is made from it, and the modules that implement a
name take its parameters from the scenario, where every default below has been filled in. Where a
paper states a value it is the default; where it tunes the value, the description says so.
"""

from __future__ import annotations

from bench.suites.family import Family, Parameter, Variant
from bench.suites.kinds import Flag, Listing, Number, Text, Word

_POSITIVE = Number(above=0)
_NOT_NEGATIVE = Number(low=0)
_SHARE = Number(low=0, below=1)
_COUNT = Number(low=1, whole=True)
_NOT_NEGATIVE_COUNT = Number(low=0, whole=True)

_SERVER_LR = Parameter(
    "server_lr", _POSITIVE, 0.01, "η, the server's learning rate; tuned in the paper."
)
_SERVER_BETA1 = Parameter("beta1", _SHARE, 0.9, "β₁, the decay of the first moment.")
_SERVER_BETA2 = Parameter("beta2", _SHARE, 0.99, "β₂, the decay of the second moment.")
_TAU = Parameter("tau", _POSITIVE, 1e-3, "τ, the degree of adaptivity.")
_BIAS_CORRECTION = Parameter(
    "bias_correction", Flag(), False, "Adam's bias correction, which the paper leaves out."
)

STRATEGIES = Family(
    "strategy",
    (
        Variant("centralized", "All clients' data in one place: the upper reference."),
        Variant("local", "Every client trains alone; scores are the mean over the clients."),
        Variant("fedavg", "Federated averaging (McMahan et al. 2017, Algorithm 1)."),
        Variant("fedsgd", "FedAvg with one step a round on all of a client's data (the same)."),
        Variant(
            "fedprox",
            "FedAvg with a proximal term (Li et al. 2020).",
            Parameter("mu", _NOT_NEGATIVE, 0.01, "µ; the paper tunes it over 0.001, 0.01, 0.1, 1."),
        ),
        Variant(
            "fedavgm",
            "FedAvg with momentum on the server (Hsu et al. 2019).",
            Parameter("server_lr", _POSITIVE, 1.0, "The server's learning rate."),
            Parameter("beta", _SHARE, 0.9, "β, the server's momentum."),
            Parameter("nesterov", Flag(), False, "Nesterov's form of the momentum."),
        ),
        Variant(
            "fedadam",
            "Adam on the server (Reddi et al. 2021, Algorithm 2).",
            _SERVER_LR,
            _SERVER_BETA1,
            _SERVER_BETA2,
            _TAU,
            _BIAS_CORRECTION,
        ),
        Variant(
            "fedyogi",
            "Yogi on the server (Reddi et al. 2021, Algorithm 2).",
            _SERVER_LR,
            _SERVER_BETA1,
            _SERVER_BETA2,
            _TAU,
            _BIAS_CORRECTION,
        ),
        Variant(
            "fedadagrad",
            "Adagrad on the server (Reddi et al. 2021, Algorithm 2); it has no second decay.",
            _SERVER_LR,
            Parameter("beta1", _SHARE, 0.0, "β₁, the decay of the first moment; 0 in the paper."),
            _TAU,
        ),
        Variant(
            "scaffold",
            "Control variates against client drift (Karimireddy et al. 2020, Algorithm 1).",
            Parameter(
                "option",
                Number(low=1, high=2, whole=True),
                2,
                "How a client renews its variate: 1 by a pass over its data, 2 from its steps.",
            ),
            Parameter("server_lr", _POSITIVE, 1.0, "η_g, the global step size."),
        ),
        Variant("fednova", "Updates normalised by their number of steps (Wang et al. 2020)."),
        Variant(
            "feddyn",
            "Dynamic regularisation (Acar et al. 2021).",
            Parameter("alpha", _POSITIVE, 0.01, "α; tuned in the paper."),
        ),
        Variant(
            "qfedavg",
            "Clients with a large loss count for more (Li et al. 2020, q-FFL, Algorithm 2).",
            Parameter("q", _NOT_NEGATIVE, 1.0, "q; tuned in the paper, and 0 is FedAvg's aim."),
        ),
        Variant("fedbn", "FedAvg whose batch normalisation stays local (Li et al. 2021)."),
        Variant("fedper", "FedAvg whose classifier stays local (Arivazhagan et al. 2019)."),
        Variant(
            "fedrep",
            "The local classifier is trained first, then the shared body (Collins et al. 2021).",
            Parameter(
                "head_epochs", _COUNT, 10, "Epochs on the classifier before those on the body."
            ),
        ),
        Variant(
            "ditto",
            "A personal model a client, held near the global one (Li et al. 2021).",
            Parameter("lambda", _NOT_NEGATIVE, 1.0, "λ, how near."),
        ),
        Variant(
            "moon",
            "Contrast between a client's, its last and the global features (Li et al. 2021).",
            Parameter("mu", _NOT_NEGATIVE, 1.0, "µ; the paper tunes it over 0.1, 1, 5, 10."),
            Parameter("temperature", _POSITIVE, 0.5, "τ, the temperature of the contrast."),
        ),
        Variant("median", "The median of each coordinate (Yin et al. 2018, Algorithm 1)."),
        Variant(
            "trimmed_mean",
            "The mean of each coordinate without its extremes (Yin et al. 2018, Algorithm 1).",
            Parameter("beta", Number(low=0, below=0.5), 0.1, "β, the share cut off at each end."),
        ),
        Variant(
            "krum",
            "The update nearest to its neighbours (Blanchard et al. 2017).",
            Parameter("byzantine", _NOT_NEGATIVE_COUNT, 1, "f, how many clients may be hostile."),
            Parameter("multi", _COUNT, 1, "m, how many of the best updates are averaged."),
        ),
        Variant(
            "dpfedavg",
            "FedAvg with clipped, noised updates (McMahan et al. 2018).",
            Parameter("clip", _POSITIVE, 1.0, "S, the largest L2 norm of an update."),
            Parameter(
                "noise_multiplier", _NOT_NEGATIVE, 1.0, "z: the noise's deviation in units of S."
            ),
            Parameter("delta", Number(above=0, below=1), 1e-5, "δ of (ε, δ)-differential privacy."),
        ),
    ),
)

PARTITIONS = Family(
    "partition",
    (
        Variant("iid", "Equal sizes, in random order."),
        Variant(
            "shards",
            "Sorted by label, cut into shards, a few to each client (McMahan et al. 2017).",
            Parameter("per_client", _COUNT, 2, "Shards of a client."),
        ),
        Variant(
            "pathological",
            "Each client has a few classes only (as in Hsieh et al. 2020).",
            Parameter("classes_per_client", _COUNT, 2, "Classes of a client."),
        ),
        Variant(
            "dirichlet",
            "Mixes of labels drawn from a Dirichlet distribution.",
            Parameter("alpha", _POSITIVE, 0.5, "α: the smaller, the more skewed."),
            Parameter(
                "balanced",
                Flag(),
                False,
                "true: equal sizes (Hsu et al. 2019); false: as they fall (Yurochkin et al. 2019).",
            ),
            Parameter("min_size", _NOT_NEGATIVE_COUNT, 10, "Every client's least images."),
        ),
        Variant(
            "prevalence",
            "Each client's prevalence is tilted, condition by condition.",
            Parameter("sigma", _NOT_NEGATIVE, 1.0, "σ of the tilt, in log-odds; 0 is iid."),
        ),
        Variant(
            "quantity",
            "Unequal sizes and no skew of labels.",
            Parameter(
                "law",
                Word(("power", "lognormal", "dirichlet", "explicit")),
                "power",
                "How sizes are distributed.",
            ),
            Parameter(
                "exponent", Number(), 1.0, "Client k has k^-exponent.", only=("law", "power")
            ),
            Parameter(
                "sigma", _NOT_NEGATIVE, 1.0, "σ of the log of the sizes.", only=("law", "lognormal")
            ),
            Parameter(
                "alpha", _POSITIVE, 0.5, "Sizes from Dir(α, …, α).", only=("law", "dirichlet")
            ),
            Parameter(
                "sizes",
                Listing(_POSITIVE),
                doc="One a client: patients that sum to all of them, or shares that sum to 1.",
                only=("law", "explicit"),
            ),
        ),
        Variant(
            "attribute",
            "Clients differ by an attribute of their patients.",
            Parameter(
                "by",
                Word(("Sex", "Age", "AP/PA", "Frontal/Lateral")),
                "Sex",
                "The column of the label file.",
            ),
            Parameter(
                "strictness", Number(low=0, high=1), 1.0, "The share of patients that follow it."
            ),
        ),
        Variant(
            "uncertainty",
            "Clients differ in their share of uncertain labels.",
            Parameter("alpha", _POSITIVE, 0.5, "α: the smaller, the more skewed."),
        ),
        Variant(
            "natural",
            "One client for each value of a column, such as the hospital; of several trees, "
            "each given with --data, the column 'site'.",
            Parameter("column", Text("the name of a column"), doc="The column of the label file."),
        ),
    ),
)

_BETAS_AND_EPS = (
    Parameter("beta1", _SHARE, 0.9, "β₁, the decay of the first moment."),
    Parameter("beta2", _SHARE, 0.999, "β₂, the decay of the second moment."),
    Parameter("eps", _POSITIVE, 1e-8, "ε in the denominator."),
)

OPTIMIZERS = Family(
    "optimizer",
    (
        Variant(
            "sgd",
            "Stochastic gradient descent.",
            Parameter("lr", _POSITIVE, doc="The learning rate."),
            Parameter("momentum", _SHARE, 0.0, "Momentum."),
            Parameter("nesterov", Flag(), False, "Nesterov's form of the momentum."),
            Parameter("weight_decay", _NOT_NEGATIVE, 0.0, "L2 penalty."),
        ),
        Variant(
            "adam",
            "Adam (Kingma and Ba 2015); the defaults are CheXpert's (Irvin et al. 2019).",
            Parameter("lr", _POSITIVE, 1e-4, "The learning rate."),
            *_BETAS_AND_EPS,
            Parameter("weight_decay", _NOT_NEGATIVE, 0.0, "L2 penalty, added to the gradient."),
        ),
        Variant(
            "adamw",
            "Adam with decoupled weight decay (Loshchilov and Hutter 2019).",
            Parameter("lr", _POSITIVE, 1e-4, "The learning rate."),
            *_BETAS_AND_EPS,
            Parameter("weight_decay", _NOT_NEGATIVE, 0.01, "Decay, outside the adaptive step."),
        ),
    ),
)

_STRAGGLING = Parameter(
    "share", Number(above=0, high=1), 0.5, "The share of a round's clients that straggle."
)

STRAGGLERS = Family(
    "treatment of stragglers",
    (
        Variant("none", "Every client has the time it needs."),
        Variant(
            "partial",
            "Stragglers send what they have after a part of their work (Li et al. 2020, FedProx).",
            _STRAGGLING,
        ),
        Variant(
            "dropped",
            "Stragglers are left out of the round.",
            _STRAGGLING,
        ),
    ),
)

COMPRESSIONS = Family(
    "compression",
    (
        Variant("none", "Clients send what they share as fp32."),
        Variant(
            "topk",
            "Clients send the elements that changed most (Stich et al. 2018).",
            Parameter("share", Number(above=0, high=1), 0.01, "The share of them that is sent."),
            Parameter(
                "error_feedback", Flag(), True, "What is not sent joins the client's next change."
            ),
        ),
        Variant(
            "int8",
            "Clients send a byte for each element, rounded at random (Alistarh et al. 2017, QSGD).",
            Parameter("block", _COUNT, 512, "Elements that are scaled together."),
        ),
    ),
)

LABEL_POLICIES = {
    "u-ignore": "The uncertain label is left out of the loss (Irvin et al. 2019).",
    "u-zeros": "Uncertain is negative (Irvin et al. 2019).",
    "u-ones": "Uncertain is positive (Irvin et al. 2019).",
    "u-selftrained": "Uncertain is what a model trained by u-ignore predicts (Irvin et al. 2019).",
    "u-multiclass": "Uncertain is a class of its own (Irvin et al. 2019).",
    "u-ones+lsr": "Uncertain is drawn from Uniform(0.55, 0.85) (Pham et al. 2019).",
    "u-zeros+lsr": "Uncertain is drawn from Uniform(0, 0.3) (Pham et al. 2019).",
}
"""What an uncertain label is taken for, per observation."""
