"""Writes optimizers.txt: what PyTorch's optimizers do with one row, for tests/ps/optimizer_test.cc.

Run once, with torch 2.11.0:  python3 tests/reference/optimizers.py > tests/reference/optimizers.txt

Row-wise Adagrad and FTRL-proximal are not in PyTorch; they follow their formulas here, in float64.

Format, one item a line: "case NAME", "settings PROTOBUF TEXT", "weights ...", "state ..." (before
the first step), then for each step "step FACTOR", "gradient ...", "weights ...", "state ..."
(after it).
"""

import numpy as np
import torch

DIM = 6
STEPS = 7
FACTORS = [0.25, 0.5, 1.0, 1.0, 0.75, 0.75, 0.1]


def text(values):
    return " ".join(f"{float(v):.9g}" for v in np.asarray(values).reshape(-1))


def settings_text(kind, settings):
    return f"{kind} {{ " + " ".join(f"{k}: {v:.9g}" for k, v in settings.items()) + " }"


def rounded(settings):
    """The settings as fp32, which is what a job file holds."""
    return {k: float(np.float32(v)) for k, v in settings.items()}


class Torch:
    """A torch optimizer over one parameter; `state_of` picks our state floats out of its own."""

    def __init__(self, make, rate, state_of, weights):
        self.parameter = torch.nn.Parameter(torch.tensor(weights, dtype=torch.float32))
        self.optimizer = make([self.parameter])
        self.rate = rate
        self.state_of = state_of

    def step(self, gradient, factor):
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * factor
        self.parameter.grad = torch.tensor(gradient, dtype=torch.float32)
        self.optimizer.step()

    def weights(self):
        return self.parameter.detach().numpy()

    def state(self):
        state = self.optimizer.state[self.parameter]
        return np.concatenate([np.asarray(x, dtype=np.float32).reshape(-1)
                               for x in self.state_of(state)]) if state else None


class RowwiseAdagrad:
    def __init__(self, s, weights):
        self.s, self.w, self.a = s, np.array(weights, np.float64), s["initial_accumulator"]

    def step(self, gradient, factor):
        g = np.array(gradient, np.float64) + self.s["l2"] * self.w
        self.a += np.mean(g * g)
        self.w -= self.s["learning_rate"] * factor * g / (np.sqrt(self.a) + self.s["epsilon"])

    def weights(self):
        return self.w

    def state(self):
        return np.array([self.a])


class Ftrl:
    """McMahan et al., KDD 2013, Algorithm 1; z starts where w is the initial weight."""

    def __init__(self, s, weights):
        self.s, self.w = s, np.array(weights, np.float64)
        self.n = np.zeros(DIM)
        self.z = -(self.w * (s["beta"] / s["alpha"] + s["l2"]) + np.sign(self.w) * s["l1"])

    def step(self, gradient, factor):
        g, s = np.array(gradient, np.float64), self.s
        sigma = (np.sqrt(self.n + g * g) - np.sqrt(self.n)) / s["alpha"]
        self.z += factor * g - sigma * self.w
        self.n += g * g
        step = (s["beta"] + np.sqrt(self.n)) / s["alpha"] + s["l2"]
        self.w = np.where(np.abs(self.z) <= s["l1"], 0.0,
                          -(self.z - np.sign(self.z) * s["l1"]) / step)

    def weights(self):
        return self.w

    def state(self):
        return np.concatenate([self.z, self.n])


def make(kind, s, weights):
    """The runner of one case and its state before the first step."""
    zeros, rate = np.zeros(DIM), s.get("learning_rate")
    if kind == "sgd":
        o = Torch(lambda p: torch.optim.SGD(p, lr=rate, weight_decay=s["l2"], foreach=False), rate,
                  lambda _: [np.zeros(0)], weights)
        return o, np.zeros(0)
    if kind == "momentum":
        o = Torch(lambda p: torch.optim.SGD(p, lr=rate, momentum=s["momentum"],
                                            weight_decay=s["l2"], foreach=False),
                  rate, lambda st: [st["momentum_buffer"]], weights)
        return o, zeros
    if kind == "adagrad":
        o = Torch(lambda p: torch.optim.Adagrad(p, lr=rate, weight_decay=s["l2"],
                                                initial_accumulator_value=s["initial_accumulator"],
                                                eps=s["epsilon"], foreach=False),
                  rate, lambda st: [st["sum"]], weights)
        return o, zeros + s["initial_accumulator"]
    if kind in ("adam", "adamw"):
        cls = torch.optim.Adam if kind == "adam" else torch.optim.AdamW
        decay = s["l2"] if kind == "adam" else s["weight_decay"]
        o = Torch(lambda p: cls(p, lr=rate, betas=(s["beta1"], s["beta2"]), eps=s["epsilon"],
                                weight_decay=decay, foreach=False),
                  rate, lambda st: [st["exp_avg"], st["exp_avg_sq"]], weights)
        return o, np.concatenate([zeros, zeros])
    if kind == "rowwise_adagrad":
        return RowwiseAdagrad(s, weights), np.array([s["initial_accumulator"]])
    o = Ftrl(s, weights)
    return o, o.state()


ADAM = {"learning_rate": 0.001, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}
CASES = [
    ("sgd", {"learning_rate": 0.01, "l2": 0}),
    ("sgd", {"learning_rate": 0.3, "l2": 0.05}),
    ("momentum", {"learning_rate": 0.01, "momentum": 0.9, "l2": 0}),
    ("momentum", {"learning_rate": 0.1, "momentum": 0.7, "l2": 0.02}),
    ("adagrad", {"learning_rate": 0.01, "initial_accumulator": 0, "epsilon": 1e-10, "l2": 0}),
    ("adagrad", {"learning_rate": 0.2, "initial_accumulator": 0.1, "epsilon": 1e-5, "l2": 0.03}),
    ("rowwise_adagrad",
     {"learning_rate": 0.01, "initial_accumulator": 0, "epsilon": 1e-8, "l2": 0}),
    ("rowwise_adagrad",
     {"learning_rate": 0.2, "initial_accumulator": 0.1, "epsilon": 1e-5, "l2": 0.03}),
    ("adam", {**ADAM, "l2": 0}),
    ("adam", {"learning_rate": 0.05, "beta1": 0.8, "beta2": 0.95, "epsilon": 1e-4, "l2": 0.02}),
    ("adamw", {**ADAM, "weight_decay": 0.01}),
    ("adamw", {"learning_rate": 0.05, "beta1": 0.8, "beta2": 0.95, "epsilon": 1e-4,
               "weight_decay": 0.3}),
    ("ftrl", {"alpha": 0.05, "beta": 1, "l1": 0, "l2": 0}),
    ("ftrl", {"alpha": 0.3, "beta": 0.5, "l1": 0.4, "l2": 0.1}),
]


def main():
    random = np.random.default_rng(20240607)
    print(f"# torch {torch.__version__.split('+')[0]}; written by optimizers.py")
    for number, (kind, settings) in enumerate(CASES):
        settings = rounded(settings)
        weights = np.float32(random.normal(0, 0.5, DIM))
        weights[2] = 0  # FTRL treats a zero in its own way
        runner, state = make(kind, settings, weights)
        print(f"case {kind}/{number}\nsettings {settings_text(kind, settings)}")
        print(f"weights {text(weights)}\nstate {text(state)}")
        for factor in FACTORS[:STEPS]:
            gradient = np.float32(random.normal(0, 1, DIM))
            factor = float(np.float32(factor))
            runner.step(gradient, factor)
            state = runner.state()
            print(f"step {factor:.9g}\ngradient {text(gradient)}")
            print(f"weights {text(runner.weights())}\nstate {text([] if state is None else state)}")


if __name__ == "__main__":
    main()
