"""Edits of the parent: those that fit, and those that do not."""

from tests.research.answers import HEAD, PROGRAM

PARENT = PROGRAM
OLD, NEW = "v_BTD.cumsum(1)", "v_BTD.cummax(1).values"
CHANGED = PARENT.replace(OLD, NEW)
WAS, IS = (f"        return {one} / count_T[:, None]\n" for one in (OLD, NEW))
HUNK = f"         count_T = torch.arange(1, v_BTD.shape[1] + 1, device=x_BTD.device)\n-{WAS}+{IS}"
DIFF = "--- a/mixer.py\n+++ b/mixer.py\n@@ -19,2 +19,2 @@\n" + HUNK
BROKEN = "        return v_BTD.cummax(1 / count_T[:, None]\n"


def edit(old: str, new: str) -> str:
    return f"<<<<<<< SEARCH\n{old}=======\n{new}>>>>>>> REPLACE\n"


# Two edits that together make CHANGED.
FIRST = edit(
    "        v_BTD = self.project(x_BTD)\n", "        v_BTD = self.project(x_BTD)  # values\n"
)
UNDONE = edit(
    "        v_BTD = self.project(x_BTD)  # values\n", "        v_BTD = self.project(x_BTD)\n"
)

MISSED = edit("x = 1\n", IS)
OLD_BLOCK, NEW_BLOCK = (f"```python\n{one}```\n" for one in (PARENT, CHANGED))

# what is odd about it -> the answer; all make CHANGED of PARENT
FITTING = {
    "one": HEAD + edit(WAS, IS),
    "several, one after the other": HEAD + FIRST + edit(WAS, IS) + UNDONE,
    "fenced": f"{HEAD}```\n{edit(WAS, IS)}```\n",
    "fenced as Python, each": f"{HEAD}```python\n{FIRST}```\nand\n"
    f"```python\n{edit(WAS, IS)}{UNDONE}```\n",
    "with the file's name": f"{HEAD}mixer.py\n```python\n{edit(WAS, IS)}```\n",
    "in a list": f"{HEAD}1. It forgets:\n   " + edit(WAS, IS).replace("\n", "\n   "),
    "blanks at the ends of lines": HEAD + edit(f"{WAS.rstrip()}  \t\n", IS),
    "Windows line ends": (HEAD + edit(WAS, IS)).replace("\n", "\r\n"),
    "other words on the marks": HEAD
    + edit(WAS, IS).replace("SEARCH", "ORIGINAL").replace("REPLACE", "UPDATED"),
    "marks alone": HEAD + edit(WAS, IS).replace(" SEARCH", "").replace(" REPLACE", ""),
    "longer marks": HEAD + edit(WAS, IS).replace("=======", "========"),
    "a draft within a thought": f"<think>\n{edit(WAS, BROKEN)}</think>\n{HEAD}{edit(WAS, IS)}",
    "in JSON": '{"name": "RunningMean", "motivation": "A mean forgets nothing.", "edits": '
    f'"{edit(WAS, IS)}"}}'.replace("\n", "\\n"),
    "a unified diff": f"{HEAD}```diff\n{DIFF}```\n",
    "a diff with wrong numbers": f"{HEAD}```diff\n@@ -1,9 +1,9 @@ class RunningMean:\n{HUNK}```\n",
    "a diff without numbers": f"{HEAD}```diff\n@@ ... @@\n{HUNK}```\n",
    "a diff without @@": f"{HEAD}```diff\n{HUNK}```\n",
    "a diff in two hunks": f"{HEAD}```diff\n@@ -2,2 +2,1 @@\n-\n import torch\n{DIFF}"
    '@@ -1,2 +1,3 @@\n """Keeps a mean."""\n+\n import torch\n```\n',
    "a bare diff": f"{HEAD}{DIFF}\nThat is all.\n",
    "a diff without a last line end": f"{HEAD}```diff\n{DIFF}\\ No newline at end of file\n```\n",
    "edits, and the whole program": f"{HEAD}{edit(WAS, IS)}In full:\n{NEW_BLOCK}",
    "edits that do not fit, and the whole program": f"{HEAD}{MISSED}{NEW_BLOCK}",
    "the parent quoted before the program": f"{HEAD}Before:\n{OLD_BLOCK}Now:\n{NEW_BLOCK}",
    "the parent quoted after the program": f"{HEAD}{NEW_BLOCK}It was:\n{OLD_BLOCK}",
}
# what is wrong -> (the answer, a part of what is told)
UNFITTING = {
    "lines that are not there": (
        edit(WAS.replace("count_T", "count"), IS),
        "the nearest are at line 20",
    ),
    "the nearest is shown": (edit(WAS.replace("count_T", "count"), IS), WAS.rstrip()),
    "another indentation": (edit(WAS.lstrip(), IS), "the nearest are at line 20"),
    "blank lines": (edit("\n\n", ""), "names no lines"),
    "no lines": (edit("", IS), "names no lines"),
    "no end": (edit(WAS, IS).replace(">>>>>>> REPLACE", ""), "An edit has no end"),
    "no middle": (edit(WAS, IS).replace("=======\n", ""), "An edit has no end"),
    "the second": (edit(WAS, IS) + edit(WAS, IS), "Edit 2 replaces lines"),
    "a program that is broken then": (edit(WAS, BROKEN), "ends in the middle of line 20"),
    "no mixer then": (
        edit("class RunningMean(nn.Module):\n", "class RunningMean:\n"),
        "found none",
    ),
    "a placeholder": (edit(WAS, "        # ... rest of the code\n        return x\n"), "left out"),
    "nothing changed": (edit(WAS, WAS), "is its parent, unchanged"),
    "a comment changed": (FIRST, "is its parent, unchanged"),
    "a diff that does not fit": ("@@ -1 +1 @@\n-x = 1\n+x = 2\n", "Edit 1 replaces lines"),
    "the parent": (f"```python\n{PARENT}```\n", "is its parent, unchanged"),
    "the parent with another name": (
        f"```python\n{PARENT.replace('RunningMean', 'Mean')}```\n",
        "is its parent, unchanged",
    ),
    "the parent with another docstring": (
        f"```python\n{PARENT.replace('Keeps a mean', 'Forgets nothing')}```\n",
        "is its parent, unchanged",
    ),
}
