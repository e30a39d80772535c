"""Writes the program of a composed mixer: one readable file from a handful of choices.

A genome names one value for each gene; the program is assembled from the lines that each value
contributes. What the values mean is said once, in GENES.
"""

import textwrap
from collections.abc import Mapping

Genome = Mapping[str, str]

# gene -> value -> what it does, in the words of a motivation
GENES: dict[str, dict[str, str]] = {
    "input": {
        "convolution": "a causal convolution of width 4 on q, k and v",
        "shift": "a learned mix of each token with the one before",
        "plain": "projections of the token alone",
    },
    "features": {
        "silu": "SiLU of queries, keys and values",
        "identity": "queries and keys as they are projected",
        "relu": "ReLU features of queries and keys",
        "squared-relu": "squared ReLU features of queries and keys",
        "elu": "ELU + 1 features, all positive",
        "softmax": "features by softmax over the channels",
    },
    "keys": {
        "unit": "queries and keys of length one",
        "free": "queries and keys of any length",
    },
    "decay": {
        "none": "no forgetting",
        "fixed": "forgetting at one constant rate per head",
        "scalar": "forgetting at a rate per head that the token decides",
        "channel": "forgetting at a rate per key channel that the token decides",
    },
    "update": {
        "add": "additive writing",
        "delta": "writing by the delta rule",
        "reflect": "the delta rule with a strength up to two, hence negative eigenvalues",
        "tied": "writing as strongly as the memory forgets",
    },
    "read": {
        "plain": "reading by a product",
        "normalised": "reading as a weighted mean",
    },
    "norm": {
        "head": "RMS norm of each head's output",
        "none": "no norm of the output",
    },
    "gate": {
        "output": "a gate on the output that the token decides",
        "none": "no output gate",
    },
    "second": {
        "none": "one memory",
        "window": "sliding-window attention over 8 tokens beside the memory",
        "slow": "a second, additive memory that forgets slowly",
    },
    "skip": {
        "none": "no direct path for the value",
        "value": "a direct path for the current value",
    },
    "values": {
        "single": "values as wide as keys",
        "double": "values twice as wide as keys, hence a state twice as large",
    },
}

WINDOW = 8
_FEATURES = {
    "silu": "F.silu({})",
    "identity": "{}",
    "relu": "F.relu({})",
    "squared-relu": "F.relu({}).square()",
    "elu": "F.elu({}) + 1",
    "softmax": "{}.softmax(dim=-1)",
}


def canonical(genome: Genome) -> dict[str, str]:
    """Returns the genome with every gene, and with choices that mean nothing set to the default.

    So two genomes differ if and only if their programs do. Raises ValueError for unknown words.
    """
    for gene, value in genome.items():
        if value not in GENES.get(gene, {}):
            raise ValueError(f"unknown component {gene}:{value}")
    full = {gene: genome.get(gene, next(iter(values))) for gene, values in GENES.items()}
    if full["update"] == "tied" and full["decay"] in ("none", "fixed"):
        full["decay"] = "channel"  # writing is tied to a forgetting that the token decides
    positive = full["features"] in ("relu", "squared-relu", "elu", "softmax")
    if full["update"] in ("delta", "reflect") or not positive:
        full["read"] = "plain"  # a mean needs positive weights that add up
    return full


def components(genome: Genome) -> tuple[str, ...]:
    """Returns the genome as words."""
    return tuple(f"{gene}:{value}" for gene, value in canonical(genome).items())


def parse(words: tuple[str, ...]) -> dict[str, str]:
    """Returns the genome of these words."""
    return canonical(dict(word.split(":", 1) for word in words))


def name_of(genome: Genome) -> str:
    """Returns a class name that tells every choice but the usual ones; each genome has its own."""
    g = canonical(genome)
    short = {
        "decay": {"fixed": "Fixed", "scalar": "Decay", "channel": "Channel"},
        "features": {
            "identity": "Raw",
            "relu": "Relu",
            "squared-relu": "Relu2",
            "elu": "Elu",
            "softmax": "Soft",
        },
        "update": {"add": "Sum", "delta": "Delta", "reflect": "Reflect", "tied": "Tied"},
        "read": {"normalised": "Mean"},
        "second": {"window": "Window", "slow": "Slow"},
        "values": {"double": "Wide"},
        "input": {"shift": "Shift", "plain": "Plain"},
        "keys": {"free": "Free"},
        "skip": {"value": "Skip"},
        "gate": {"none": "Ungated"},
        "norm": {"none": "Bare"},
    }
    return "".join(words.get(g[gene], "") for gene, words in short.items())


def write_program(genome: Genome, motivation: str) -> str:
    """Returns the text of the program: one mixer with forward, initial_state and step."""
    g = canonical(genome)
    body = "\n\n".join(
        [_init(g), _forward(g), _initial_state(g), _step(g), _project(g), *_gates(g), _read(g)]
    )
    lines = [
        f'"""{name_of(g)}, a composed sequence mixer.',
        "",
        *textwrap.wrap(motivation.replace("\\", "").replace('"""', "'"), 96),
        '"""',
        "",
        *(["import torch"] if _needs_torch(g) else []),
        *(["import torch.nn.functional as F"] if "F." in body else []),
        "from torch import Tensor, nn",
        "",
        "from move37.nn import ops",
        "",
        "",
        f"class {name_of(g)}(nn.Module):",
        textwrap.indent(_docstring(g), "    "),
        "",
        textwrap.indent(body, "    ", lambda line: bool(line.strip())),
        "",
    ]
    return "\n".join(lines)


def _needs_torch(g: Genome) -> bool:
    return (
        g["decay"] in ("fixed", "scalar")
        or g["input"] == "shift"
        or g["second"] != "none"
        or g["skip"] == "value"
    )


def _docstring(g: Genome) -> str:
    plain = g["features"] == "identity"
    key, query = ("k_t", "q_t") if plain else ("f(k_t)", "f(q_t)")
    steps = []
    if g["decay"] != "none":
        factor = {"fixed": "a S", "scalar": "a_t S", "channel": "S diag(a_t)"}[g["decay"]]
        steps.append((f"S <- {factor}", GENES["decay"][g["decay"]]))
    write = {
        "add": f"S <- S + v_t {key}^T",
        "tied": f"S <- S + v_t ((1 - a_t) {key})^T",
        "delta": f"S <- S + b_t (v_t - S {key}) {key}^T",
        "reflect": f"S <- S + b_t (v_t - S {key}) {key}^T",
    }
    steps.append((write[g["update"]], GENES["update"][g["update"]]))
    read = f"o_t = S {query}" + (f" / (z {query})" if g["read"] == "normalised" else "")
    steps.append((read, GENES["read"][g["read"]]))
    if g["second"] == "window":
        steps.append(("o_t <- o_t + w near_t", GENES["second"]["window"]))
    if g["second"] == "slow":
        steps.append((f"R <- c R + v_t {key}^T", GENES["second"]["slow"]))
        steps.append((f"o_t <- o_t + w R {query}", "read it too"))
    if g["skip"] == "value":
        steps.append(("o_t <- o_t + d v_t", GENES["skip"]["value"]))
    column = max(len(step) for step, _ in steps) + 4
    used = [
        GENES[gene][g[gene]] for gene in ("input", "features", "keys", "norm", "gate", "values")
    ]
    return "\n".join(
        [
            '"""A linear memory, composed of published parts.',
            "",
            "Per head, with a state S of shape (V, K) that starts at zero:",
            "",
            *(f"    {step:{column}}{told}" for step, told in steps),
            "",
            *textwrap.wrap("With " + "; ".join(used) + ".", 92),
            "Shapes: B batch, T time, D model width, H heads, K key size, V value size.",
            '"""',
        ]
    )


def _init(g: Genome) -> str:
    lines = [
        "def __init__(self, dim: int, *, heads: int) -> None:",
        "    super().__init__()",
        "    self.heads = heads",
        "    self.key_dim = max(1, dim // heads)",
        f"    self.value_dim = {'2 * ' if g['values'] == 'double' else ''}self.key_dim",
        "    self.sizes = [heads * self.key_dim, heads * self.key_dim, heads * self.value_dim]",
        "    inner = heads * self.value_dim",
        "    self.project_qkv = nn.Linear(dim, sum(self.sizes), bias=False)",
    ]
    if g["input"] == "convolution":
        lines += [
            "    wide = sum(self.sizes)",
            "    self.convolution = nn.Conv1d(wide, wide, 4, groups=wide, bias=False)",
        ]
    if g["input"] == "shift":
        lines.append("    self.shift = nn.Parameter(torch.full((dim,), 0.5))")
    if g["update"] in ("delta", "reflect"):
        lines.append("    self.project_beta = nn.Linear(dim, heads, bias=False)")
    if g["decay"] == "fixed":
        lines += [
            "    # From 1 - 2^-3 on, each head keeps twice as long as the one before.",
            "    rates = 1 - 2.0 ** -(3.0 + torch.arange(heads) % 6)",
            '    self.register_buffer("log_decay", rates.log())',
        ]
    if g["decay"] == "scalar":
        lines += [
            "    self.project_decay = nn.Linear(dim, heads)",
            "    # softplus(-4) = 0.018: at first, little is forgotten.",
            "    nn.init.constant_(self.project_decay.bias, -4.0)",
            "    self.log_rate = nn.Parameter(torch.linspace(1, 16, heads).log())",
        ]
    if g["decay"] == "channel":
        lines += [
            "    # Of low rank, since a rate needs less than a key does.",
            "    self.project_decay = nn.Sequential(",
            "        nn.Linear(dim, 16, bias=False), nn.Linear(16, heads * self.key_dim)",
            "    )",
        ]
    if g["second"] == "window":
        lines += [
            f"    self.window_bias = nn.Parameter(torch.zeros(heads, {WINDOW}))",
            "    self.window_weight = nn.Parameter(torch.full((heads, 1), 0.5))",
        ]
    if g["second"] == "slow":
        lines += [
            '    self.register_buffer("slow_log_decay", torch.full((heads,), 1 - 2.0**-6).log())',
            "    self.slow_weight = nn.Parameter(torch.full((heads, 1), 0.5))",
        ]
    if g["skip"] == "value":
        lines.append("    self.skip_weight = nn.Parameter(torch.ones(heads, 1))")
    if g["gate"] == "output":
        lines.append("    self.project_gate = nn.Linear(dim, inner, bias=False)")
    if g["norm"] == "head":
        lines.append("    self.norm = nn.RMSNorm(self.value_dim, eps=1e-5)")
    lines.append("    self.project_out = nn.Linear(inner, dim, bias=False)")
    return "\n".join(lines)


def _memory_value(g: Genome) -> str:
    return "F.pad(v, (0, 1), value=1.0)" if g["read"] == "normalised" else "v"


def _forward(g: Genome) -> str:
    lines = [
        "def forward(self, x_BTD: Tensor, documents_BT: Tensor | None = None) -> Tensor:",
        '    """Maps (B, T, D) to (B, T, D); output t sees inputs 0..t of its document."""',
    ]
    if g["input"] == "shift":
        lines.append("    mixed = ops.short_convolution(x_BTD, self._shift_weight(), documents_BT)")
        lines.append("    qkv = self.project_qkv(mixed)")
    else:
        lines.append("    qkv = self.project_qkv(x_BTD)")
    if g["input"] == "convolution":
        lines.append(
            "    qkv = ops.short_convolution(qkv, self.convolution.weight[:, 0], documents_BT)"
        )
    raw = "raw_q, raw_k, " if g["second"] == "window" else ""
    lines.append(f"    {raw}q, k, v = self._project(qkv)")
    decay = _decay_lines(g, "x_BTD", lines)
    value = _memory_value(g)
    if g["update"] in ("delta", "reflect"):
        lines.append(
            f"    o = ops.delta_rule(q, k, {value}, self._beta(x_BTD), {decay}, documents_BT)"
        )
    else:
        lines.append(f"    o = ops.linear_attention(q, k, {value}, {decay}, documents_BT)")
    _mean_lines(g, lines)
    if g["second"] == "window":
        lines += [
            "    near = ops.sliding_window_attention(",
            "        raw_q, raw_k, v, self.window_bias, documents_BT",
            "    )",
            "    o = o + self.window_weight * near",
        ]
    if g["second"] == "slow":
        lines += [
            "    slow_decay = self.slow_log_decay.expand(*x_BTD.shape[:2], -1)",
            "    slow = ops.linear_attention(q, k, v, slow_decay, documents_BT)",
            "    o = o + self.slow_weight * slow",
        ]
    lines.append(f"    return self._read({_read_arguments(g, 'v', 'x_BTD')})")
    return "\n".join(lines)


def _decay_lines(g: Genome, x: str, lines: list[str]) -> str:
    """Appends what the decay needs, and returns the argument that stands for it."""
    if g["decay"] == "none":
        return "None"
    if g["decay"] == "fixed":
        lines.append(f"    log_decay = self.log_decay.expand(*{x}.shape[:-1], -1)")
    else:
        lines.append(f"    log_decay = self._log_decay({x})")
    if g["update"] == "tied":
        scale = "[..., None]" if g["decay"] == "scalar" else ""
        lines.append(f"    k = k * (1 - log_decay.exp()){scale}")
    return "log_decay"


def _mean_lines(g: Genome, lines: list[str]) -> None:
    if g["read"] == "normalised":
        lines.append("    o = o[..., :-1] / (o[..., -1:] + 1e-6)")


def _initial_state(g: Genome) -> str:
    rows = "self.value_dim + 1" if g["read"] == "normalised" else "self.value_dim"
    entries = []
    if g["input"] == "convolution":
        entries.append('"recent": zeros(batch, 3, sum(self.sizes)),')
    if g["input"] == "shift":
        entries.append('"recent": zeros(batch, 1, self.project_qkv.in_features),')
    entries.append(f'"memory": zeros(batch, self.heads, {rows}, self.key_dim),')
    if g["second"] == "window":
        entries.append(
            f'"near": zeros(batch, {WINDOW - 1}, self.heads, self.key_dim + self.value_dim + 1),'
        )
    if g["second"] == "slow":
        entries.append('"slow": zeros(batch, self.heads, self.value_dim, self.key_dim),')
    return "\n".join(
        [
            "def initial_state(self, batch: int) -> dict[str, Tensor]:",
            '    """Returns the state before the first token."""',
            "    zeros = self.project_out.weight.new_zeros",
            "    return {",
            *(f"        {entry}" for entry in entries),
            "    }",
        ]
    )


def _step(g: Genome) -> str:
    lines = [
        "def step(",
        "    self, x_BD: Tensor, state: dict[str, Tensor]",
        ") -> tuple[Tensor, dict[str, Tensor]]:",
        '    """Maps one token (B, D) and the state to the output (B, D) and the next state."""',
        "    state = dict(state)",
    ]
    if g["input"] == "shift":
        lines += [
            '    mixed, state["recent"] = ops.short_convolution_step(',
            '        x_BD, self._shift_weight(), state["recent"]',
            "    )",
            "    qkv = self.project_qkv(mixed)",
        ]
    elif g["input"] == "convolution":
        lines += [
            '    qkv, state["recent"] = ops.short_convolution_step(',
            '        self.project_qkv(x_BD), self.convolution.weight[:, 0], state["recent"]',
            "    )",
        ]
    else:
        lines.append("    qkv = self.project_qkv(x_BD)")
    raw = "raw_q, raw_k, " if g["second"] == "window" else ""
    lines.append(f"    {raw}q, k, v = self._project(qkv)")
    decay = _decay_lines(g, "x_BD", lines)
    beta = "self._beta(x_BD), " if g["update"] in ("delta", "reflect") else ""
    rule = "delta_rule" if beta else "linear_attention"
    lines += [
        f'    o, state["memory"] = ops.{rule}_step(',
        f'        q, k, {_memory_value(g)}, {beta}state["memory"], {decay}',
        "    )",
    ]
    _mean_lines(g, lines)
    if g["second"] == "window":
        lines += [
            '    near, state["near"] = ops.sliding_window_attention_step(',
            '        raw_q, raw_k, v, self.window_bias, state["near"]',
            "    )",
            "    o = o + self.window_weight * near",
        ]
    if g["second"] == "slow":
        lines += [
            "    slow_decay = self.slow_log_decay.expand(x_BD.shape[0], -1)",
            '    slow, state["slow"] = ops.linear_attention_step(',
            '        q, k, v, state["slow"], slow_decay',
            "    )",
            "    o = o + self.slow_weight * slow",
        ]
    lines.append(f"    return self._read({_read_arguments(g, 'v', 'x_BD')}), state")
    return "\n".join(lines)


def _project(g: Genome) -> str:
    window = g["second"] == "window"
    count = 5 if window else 3
    feature = _FEATURES[g["features"]]
    lines = [
        f"def _project(self, qkv: Tensor) -> tuple[{', '.join(['Tensor'] * count)}]:",
        "    q, k, v = (z.unflatten(-1, (self.heads, -1)) for z in qkv.split(self.sizes, dim=-1))",
    ]
    if window:
        lines.append("    raw_q, raw_k = q, k")
    if g["features"] == "silu":
        lines.append("    q, k, v = F.silu(q), F.silu(k), F.silu(v)")
    elif g["features"] != "identity":
        lines.append(f"    q, k = {feature.format('q')}, {feature.format('k')}")
    if g["keys"] == "unit":
        lines.append("    q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)")
    elif g["read"] == "plain":
        lines.append("    q = q * self.key_dim**-0.5")
    lines.append(f"    return {'raw_q, raw_k, ' if window else ''}q, k, v")
    return "\n".join(lines)


def _gates(g: Genome) -> list[str]:
    functions = []
    if g["input"] == "shift":
        functions.append(
            "def _shift_weight(self) -> Tensor:\n"
            "    return torch.stack([1 - self.shift, self.shift], dim=1)"
        )
    if g["update"] in ("delta", "reflect"):
        factor = "2 * " if g["update"] == "reflect" else ""
        functions.append(
            "def _beta(self, x: Tensor) -> Tensor:\n"
            f"    return {factor}self.project_beta(x).sigmoid()"
        )
    if g["decay"] == "scalar":
        functions.append(
            "def _log_decay(self, x: Tensor) -> Tensor:\n"
            "    return -self.log_rate.exp() * F.softplus(self.project_decay(x))"
        )
    if g["decay"] == "channel":
        functions.append(
            "def _log_decay(self, x: Tensor) -> Tensor:\n"
            "    # The 16th root keeps the rates near one at the start.\n"
            "    return F.logsigmoid(self.project_decay(x)).unflatten(-1, (self.heads, -1)) / 16"
        )
    return functions


def _read_arguments(g: Genome, value: str, x: str) -> str:
    return ", ".join(["o"] + [value] * (g["skip"] == "value") + [x] * (g["gate"] == "output"))


def _read(g: Genome) -> str:
    arguments = _read_arguments(g, "v: Tensor", "x: Tensor").replace("o", "o: Tensor", 1)
    lines = [f"def _read(self, {arguments}) -> Tensor:"]
    if g["skip"] == "value":
        lines.append("    o = o + self.skip_weight * v")
    if g["norm"] == "head":
        lines.append("    o = self.norm(o)")
    if g["gate"] == "output":
        lines.append("    o = o * F.silu(self.project_gate(x)).unflatten(-1, (self.heads, -1))")
    lines.append("    return self.project_out(o.flatten(-2))")
    return "\n".join(lines)
