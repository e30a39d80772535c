"""Answers that hold no program that could be examined, and what the model is told."""

import json

from tests.research.answers import GOOD, HEAD, PROGRAM, each_line, fenced

IMPORTS, CLASS = PROGRAM[: PROGRAM.index("class ")], PROGRAM[PROGRAM.index("class ") :]
FORWARD = PROGRAM[PROGRAM.index("        v_BTD =") :]
SECOND = CLASS.replace("RunningMean", "OtherMean")
FLAX = """\
import jax.numpy as jnp
from flax import linen as nn


class RunningMean(nn.Module):
    heads: int

    @nn.compact
    def __call__(self, x):
        return jnp.cumsum(nn.Dense(x.shape[-1])(x), axis=1)
"""
KERAS = """\
import tensorflow as tf


class RunningMean(tf.keras.layers.Layer):
    def call(self, x):
        return tf.cumsum(x, axis=1)
"""
LANGUAGE_MODEL = PROGRAM.replace("dim: int, *, heads", "vocab_size: int, dim: int, *, heads")
TRAINING = """
mixer = RunningMean(64, heads=4)
optimizer = torch.optim.AdamW(mixer.parameters())
for _ in range(100):
    loss = mixer(torch.randn(2, 8, 64)).square().mean()
    loss.backward()
    optimizer.step()
"""


def with_forward(body: str) -> str:
    return fenced(PROGRAM.replace(FORWARD, each_line(body, " " * 8)))


# what is wrong -> (the answer, a part of what is told)
REFUSED = {
    "empty": ("", "got an empty answer"),
    "blank": (" \n\t\n", "got an empty answer"),
    "invisible": ("\ufeff\u200b\u00a0\n", "got an empty answer"),
    "a refusal": ("I'm sorry, but I cannot help with that request.", "got a refusal"),
    "a refusal, typographically": ("I can’t assist with designing this.", "got a refusal"),
    "a refusal as an AI": ("As an AI, writing programs is not for me.", "got a refusal"),
    "prose": ("One could keep a mean of all values.", "prose only"),
    "prose that begins like code": ("import a mean\nfrom the paper, and keep it.", "prose only"),
    "labels without a program": (HEAD, "prose only"),
    "an empty block": (fenced(""), "prose only"),
    "a formula": (f"{HEAD}```\nS <- S + v_t\n```\n", "prose only"),
    "only a thought": ("<think>Let me see.</think>", "got an empty answer"),
    "only a thought with a program": (f"<think>{GOOD}</think>", "got an empty answer"),
    "a thought without an end": (f"<think>\nLet me see.\n{GOOD}", "within its reasoning"),
    "nested deeply": (f"[{{'name': {'[' * 5000}{']' * 5000}}}]", "deeper than can be read"),
    "JSON without a program": ('{"name": "X", "motivation": "Y"}', "JSON"),
    "JSON that ends early": (json.dumps({"name": "X", "program": PROGRAM})[:300], "JSON"),
    "JSON with the program null": ('{"name": "X", "program": null}', "JSON"),
    "JSON with another program": ('{"program": "print(1)"}', "prose only"),
    "a call without a program": (
        '{"name": "search_papers", "arguments": {"query": "delta rule"}}',
        "a call of the tool 'search_papers'",
    ),
    "a call without arguments": ('{"name": "finish", "arguments": {}}', "the tool 'finish'"),
    "ends within a string": (GOOD[: GOOD.index("is the mean")], "ends in the middle of line 8"),
    "ends within a call": (GOOD[: GOOD.index("dim, dim") + 4], "ends in the middle of line 13"),
    "ends before a body": (GOOD[: GOOD.index("            return v")], "ends in the middle"),
    "ends within a name": (GOOD[: GOOD.index("    def forward")], "has no forward"),
    "a missing bracket": (GOOD.replace("heads: int)", "heads: int"), "syntax error in line 10"),
    "a word too many": (GOOD.replace("self.heads = heads", "self.heads = = heads"), "line 12"),
    "a return without a function": (fenced(f"{PROGRAM}return 1\n\n\nx = 1\n"), "line 21 ('return'"),
    "Python 2": (fenced(f'{PROGRAM}\nprint "done"\n\nx = 1\n'), 'print "done"'),
    "another language": (fenced("class RunningMean extends Module {\n}\n", "js"), "syntax error"),
    "a broken correction": (
        f"{GOOD}Corrected:\n```python\n{PROGRAM.replace('cumsum(1)', 'cumsum(1')}```\n",
        "line 20",
    ),
    "functions only": (
        fenced("import torch\n\n\ndef mix(x):\n    return x.cumsum(1)\n"),
        "found none",
    ),
    "a plain class": (fenced(PROGRAM.replace("(nn.Module)", "")), "found none"),
    "one method": (fenced("def forward(self, x):\n    return x.cumsum(1)\n"), "found none"),
    "a hidden class": (fenced(PROGRAM.replace("class R", "class _R")), "underscore hides it"),
    "no interface": (fenced(PROGRAM.replace("dim: int, *, heads: int", "size: int")), "neither"),
    "no constructor": (
        fenced(f"{IMPORTS}class Mean(nn.Module):\n    def forward(self, x):\n        return x\n"),
        "the constructors of Mean",
    ),
    "two mixers": (fenced(f"{PROGRAM}\n\n{SECOND}"), "found RunningMean, OtherMean"),
    "two layers": (
        fenced(f"{PROGRAM}\n\n{SECOND}".replace("*, heads: int", "num_heads: int")),
        "found RunningMean, OtherMean",
    ),
    "no forward": (fenced(PROGRAM.replace("def forward", "def mix")), "has no forward"),
    "Flax": (fenced(FLAX), "a program for jax"),
    "Keras": (fenced(KERAS), "a program for tensorflow"),
    "a language model": (fenced(LANGUAGE_MODEL), "a whole language model"),
    "a language model beside the mixer": (
        fenced(f"{PROGRAM}\n\n{SECOND.replace('dim: int,', 'vocab_size: int, dim: int,')}"),
        "a whole language model",
    ),
    "a training script": (fenced(PROGRAM + TRAINING), "Line 23 trains something"),
    "an ellipsis for a body": (with_forward("..."), "RunningMean.forward (line 15)"),
    "an ellipsis below a docstring": (with_forward('"""Mixes."""\n...'), "is a placeholder"),
    "a docstring for a body": (with_forward('"""Mixes."""'), "is a placeholder"),
    "pass": (with_forward("pass"), "is a placeholder"),
    "NotImplementedError": (with_forward("raise NotImplementedError"), "is a placeholder"),
    "NotImplementedError, said": (
        with_forward('raise NotImplementedError("later")'),
        "placeholder",
    ),
    "TODO": (with_forward("# TODO: implement\nreturn x_BTD"), "is a placeholder"),
    "TODO behind pass": (with_forward("pass  # TODO: implement the scan"), "is a placeholder"),
    "a sketched method": (fenced(f"{PROGRAM}\n    def step(self, x, state): ...\n"), ".step"),
    "a sketched helper": (fenced(f"{PROGRAM}\n\ndef _scan(x):\n    ...\n"), "_scan (line 23)"),
    "a sketched helper class": (
        fenced(f"{PROGRAM}\n\nclass _Norm(nn.Module):\n    def normed(self, x): ...\n"),
        "_Norm.normed",
    ),
    "the rest of the code": (
        with_forward("# rest of the code here\nreturn x_BTD"),
        "Line 16 stands",
    ),
    "the rest, with dots": (fenced(f"{PROGRAM}\n# ... rest of the class unchanged\n"), "Line 22"),
    "dots in a comment": (with_forward("# ...\nreturn x_BTD"), "left out"),
    "existing code": (with_forward("# ... existing code ...\nreturn x_BTD"), "left out"),
    "same as before": (with_forward("# same as before ...\nreturn x_BTD"), "left out"),
    "your code here": (with_forward("# Your code here\nreturn x_BTD"), "left out"),
    "omitted for brevity": (with_forward("# masks omitted for brevity\nreturn x_BTD"), "left out"),
    "too many lines": (fenced(PROGRAM + "\n# x" * 2000), "2,021 lines"),
    "too many bytes": (fenced(f"{PROGRAM}\nx = '{'x' * 200_000}'\n"), "at most 2,000 and 200,000"),
    "too much of anything": ("x " * 1_000_000, "2,000,000 characters"),
    "edits without a parent": (
        "<<<<<<< SEARCH\na = 1\n=======\na = 2\n>>>>>>> REPLACE\n",
        "no parent to edit",
    ),
    "a diff without a parent": ("```diff\n@@ -1 +1 @@\n-a = 1\n+a = 2\n```\n", "no parent to edit"),
}
# what is wrong -> (the answer that the endpoint cut off, a part of what is told)
CUT_OFF = {
    "before the program": (HEAD, "cut off before its program"),
    "within the program": (GOOD[:400], "cut off within its program"),
    "at the end of a statement": (GOOD.removesuffix("```\n"), "cut off within its program"),
    "within JSON": (json.dumps({"name": "X", "program": PROGRAM})[:300], "cut off before"),
    "within a second program": (f"{GOOD}Or rather:\n```python\n{PROGRAM}", "cut off within"),
    "within methods that stand apart": (
        f"{HEAD}```python\n{PROGRAM.split('    def forward')[0]}```\n```python\n"
        "    def forward(self, x):\n        x = x + 1\n",
        "cut off within its program",
    ),
    "within a thought": ("<think>Let me see", "within its reasoning"),
    "a bare program": (PROGRAM, "cut off within its program"),
}
