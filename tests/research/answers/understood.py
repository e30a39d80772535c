"""Answers that hold the program, all of it and nothing else, whatever is around it."""

import json
import re

from tests.research.answers import GOOD, HEAD, PROGRAM, each_line, fenced

LINES = PROGRAM.splitlines()
IMPORTS, CLASS = PROGRAM[: PROGRAM.index("class ")], PROGRAM[PROGRAM.index("class ") :]
INIT, FORWARD = (
    PROGRAM[: PROGRAM.index("    def forward")],
    PROGRAM[PROGRAM.index("    def forward") :],
)
NUMBERS = range(1, len(LINES) + 1)
DATA = {"name": "RunningMean", "motivation": "A mean forgets nothing.", "program": PROGRAM}
JSON = json.dumps(DATA, indent=2)
TEXT = json.dumps(PROGRAM)  # the program as a JSON string
ESCAPED = PROGRAM.replace("\\", "\\\\").replace('"', '\\"')  # its line ends are not
USAGE = (
    "```python\nmixer = RunningMean(64, heads=4)\nprint(mixer(torch.randn(2, 8, 64)).shape)\n```\n"
)
SKETCH = (
    "```python\nclass RunningMean(nn.Module):\n    def __init__(self, dim, *, heads): ...\n"
    "    def forward(self, x): ...\n```\n"
)
BLOCK = f"```python\n{PROGRAM}```\n"
DIFF = "".join(f"+{line}\n" for line in LINES)
ENTITIES = PROGRAM.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def odd(program: str) -> str:
    assert program != PROGRAM
    return fenced(program)


# what is odd about it -> the answer
MARKDOWN = {
    "nothing": GOOD,
    "no name": GOOD.replace("Name: RunningMean\n", ""),
    "bold labels": GOOD.replace("Name:", "**Name:**").replace("Motivation:", "**Motivation:**"),
    "bold labels, colons outside": GOOD.replace("Name:", "**Name**:"),
    "headings for labels": GOOD.replace("Name: ", "## Name\n").replace("Motivation: ", "## Why\n"),
    "headings with colons": GOOD.replace("Name:", "# Name:").replace(
        "Motivation:", "# Motivation:"
    ),
    "labels as list items": GOOD.replace("Name:", "- Name:").replace(
        "Motivation:", "- Motivation:"
    ),
    "name in backticks": GOOD.replace("Name: RunningMean", "Name: `RunningMean`"),
    "name in quotes": GOOD.replace("Name: RunningMean", 'Name: "Running mean"'),
    "lower-case labels": GOOD.replace("Name", "name").replace("Motivation", "motivation"),
    "a greeting before it": f"Sure! Here is my proposal.\n\n{GOOD}",
    "a farewell after it": f"{GOOD}\nLet me know whether I should go on.\n",
    "a label before the program": GOOD.replace("```python", "Program:\n\n```python"),
    "the program alone, fenced": BLOCK,
    "~~~": GOOD.replace("```", "~~~"),
    "four backticks": GOOD.replace("```", "````"),
    "py": fenced(PROGRAM, "py"),
    "Python3": fenced(PROGRAM, "Python3"),
    "no language": fenced(PROGRAM, ""),
    "a wrong language": fenced(PROGRAM, "text"),
    "a title": fenced(PROGRAM, "python title=mixer.py"),
    "attributes": fenced(PROGRAM, '{.python .numberLines startFrom="1"}'),
    "a space before the language": fenced(PROGRAM, " python"),
    "the language on the next line": fenced(f"python\n{PROGRAM}", ""),
    "the file's name on the first line": fenced(f"running_mean.py\n{PROGRAM}"),
    "no closing fence": GOOD.removesuffix("```\n"),
    "no closing fence, then prose": GOOD.removesuffix("```\n") + "\nThis keeps a mean.\n",
    "a closing fence that is longer": GOOD.removesuffix("\n") + "``\n",
    "a closing fence on the last line of code": f"{HEAD}```python\n{PROGRAM.rstrip()}```\n",
    "an opening fence behind prose": GOOD.replace("```python", "The program: ```python"),
    "indented fences": each_line(GOOD, "    "),
    "in a list": f"{HEAD}1. The program:\n\n{each_line(BLOCK, '   ')}",
    "on a list's mark": f"{HEAD}1. ```python\n{each_line(PROGRAM + '```', '   ')}",
    "on a bullet": f"{HEAD}- ```python\n{each_line(PROGRAM + '```', '  ')}",
    "in a quotation": f"{HEAD}{each_line(BLOCK, '> ')}",
    "within a Markdown fence": f"```markdown\n{GOOD}```\n",
    "within a longer Markdown fence": f"````md\n{GOOD}````\n",
    "blank lines inside": fenced(f"\n\n{PROGRAM}\n\n"),
    "prose within the fence": fenced(f"Here it is:\n\n{PROGRAM}\nThat is all.\n"),
}
BLOCKS = {
    "usage after it": f"{GOOD}\nUsage:\n\n{USAGE}",
    "usage before it": f"{HEAD}It is used so:\n{USAGE}\n{BLOCK}",
    "a command before it": f"{HEAD}```bash\npip install torch\n```\n{BLOCK}",
    "a formula before it": f"{HEAD}```\nS <- S + v_t\no_t = S / t\n```\n{BLOCK}",
    "a sketch before it": f"{HEAD}{SKETCH}\nIn full:\n{BLOCK}",
    "a sketch after it": f"{GOOD}In short:\n{SKETCH}",
    "a draft before it": f"{HEAD}{BLOCK.replace('cumsum(1)', 'cumsum(0)')}\nCorrected:\n{BLOCK}",
    "another one after it": f"{GOOD}Or:\n{BLOCK.replace('RunningMean', 'Other')}",
    "a broken draft before it": HEAD
    + BLOCK.replace("heads: int)", "heads: int")
    + f"Again:\n{BLOCK}",
    "imports apart": f"{HEAD}```python\n{IMPORTS}```\nand\n```python\n{CLASS}```\n",
    "imports apart, and usage": f"{HEAD}```python\n{IMPORTS}```\n```python\n{CLASS}```\n{USAGE}",
    "methods apart": f"{HEAD}```python\n{INIT}```\nThe forward:\n```python\n{FORWARD}```\n",
    "given twice": f"{GOOD}\nOnce more:\n\n{BLOCK}",
    "a JSON block beside it": f'{GOOD}```json\n{{"cost": "linear"}}\n```\n',
}
BARE = {
    "no fence": HEAD + PROGRAM,
    "no fence and nothing else": PROGRAM,
    "no fence, prose around": f"Here it is.\n\n{PROGRAM}\nIt keeps a mean.\n- linear\n- simple\n",
    "no fence, headings around": f"# Idea\n\n{PROGRAM}\n## Cost\n\nLinear in time.\n",
    "no last line end": GOOD.rstrip(),
    "<code>": f"{HEAD}<code>\n{PROGRAM}</code>\n",
    "<code> with a class, in <pre>": f'{HEAD}<pre><code class="python">\n{PROGRAM}</code></pre>\n',
    "<code> that is not closed": f"{HEAD}<code>\n{PROGRAM}",
    "<python>": f"{HEAD}<python>\n{PROGRAM}</python>\n",
    "tags for all": "<answer><name>RunningMean</name>\n<motivation>A mean forgets nothing."
    f"</motivation>\n<program>\n{PROGRAM}</program></answer>",
    "tags around a fence": f"{HEAD}<program>\n{BLOCK}</program>\n",
    "CDATA": f"{HEAD}<program><![CDATA[\n{PROGRAM}]]></program>\n",
    "tags of a tool call": '<invoke name="submit"><parameter name="name">RunningMean</parameter>\n'
    f'<parameter name="program">\n{PROGRAM}</parameter></invoke>',
    "tags of another tool call": f"<function=submit>\n<parameter=program>\n{PROGRAM}</parameter>",
}
CHARACTERS = {
    "Windows line ends": GOOD.replace("\n", "\r\n"),
    "old Macintosh line ends": GOOD.replace("\n", "\r"),
    "Unicode line separators": GOOD.replace("\n", "\u2028"),
    "a byte order mark": f"\ufeff{GOOD}",
    "a byte order mark in the fence": odd(f"\ufeff{PROGRAM}"),
    "zero-width spaces": odd(PROGRAM.replace("self.", "self\u200b.")),
    "marks of direction": odd(PROGRAM.replace("return", "\u202ereturn\u202c")),
    "soft hyphens": odd(PROGRAM.replace("Linear", "Lin\u00adear")),
    "NUL": odd(PROGRAM.replace("return", "return\x00")),
    "non-breaking spaces": odd(PROGRAM.replace("    ", "\u00a0\u00a0\u00a0\u00a0")),
    "wide spaces": odd(PROGRAM.replace(" = ", "\u3000=\u2003")),
    "curly double quotes": odd(re.sub('"""(.*?)"""', "“““\\1”””", PROGRAM)),
    "curly closing quotes only": odd(PROGRAM.replace('"""', "”””")),
    "an en dash for ->": odd(PROGRAM.replace("->", "–>")),
    "a minus sign": odd(PROGRAM.replace("->", "−>")),
    "an arrow for ->": odd(PROGRAM.replace("->", "→")),
    "full-width brackets": odd(PROGRAM.replace("(1)", "（1）")),
    "full-width colons": odd(PROGRAM.replace("None:", "None：")),
    "HTML entities": odd(ENTITIES),
    "HTML entities in <code>": f"{HEAD}<code>\n{ENTITIES}</code>",
    "numbered HTML entities": odd(PROGRAM.replace(">", "&#62;").replace("<", "&#x3C;")),
    "tabs mixed with spaces": odd(PROGRAM.replace("            return", "\t\t    return")),
    "a tab for four spaces in one line": odd(PROGRAM.replace("        if", "    \tif")),
    "plus signs and a space": odd(each_line(PROGRAM, "+ ")),
    "plus signs": odd(each_line(PROGRAM, "+")),
    "a diff of a new file": fenced(
        f"--- /dev/null\n+++ b/mixer.py\n@@ -0,0 +1,20 @@\n{DIFF}", "diff"
    ),
    "a diff of plus signs only": fenced(DIFF, "diff"),
    "line numbers": odd("".join(f"{n} {line}\n" for n, line in zip(NUMBERS, LINES, strict=True))),
    "aligned numbers": odd("".join(f"{n:4}  {s}\n" for n, s in zip(NUMBERS, LINES, strict=True))),
    "numbers with colons": odd("".join(f"{n}: {s}\n" for n, s in zip(NUMBERS, LINES, strict=True))),
    "numbers with bars": odd(
        "".join(f"{n:>3} | {s}\n" for n, s in zip(NUMBERS, LINES, strict=True))
    ),
    "numbers with tabs": odd("".join(f"{n}\t{s}\n" for n, s in zip(NUMBERS, LINES, strict=True))),
    "numbers with arrows": odd(
        "".join(f"{n:6}→{s}\n" for n, s in zip(NUMBERS, LINES, strict=True))
    ),
    "prompts": odd(each_line(PROGRAM, ">>> ")),
    "indented as a whole": odd(each_line(PROGRAM, "    ")),
}
THOUGHTS = {
    "a draft within <think>": f"<think>\n{BLOCK.replace('cumsum', 'cummax')}</think>\n{GOOD}",
    "<thinking>": f"<thinking>Which one? {PROGRAM}</thinking>{GOOD}",
    "</think> without its beginning": f"{BLOCK.replace('cumsum', 'cummax')}</think>\n\n{GOOD}",
    "two thoughts": f"<think>One.</think>\n<think>{PROGRAM}</think>\n{GOOD}",
    "a channel of its own": f"<|channel|>analysis<|message|>{SKETCH}"
    f"<|channel|>final<|message|>{GOOD}",
    "an end of text": f"{GOOD}<|im_end|>",
}
OBJECTS = {
    "JSON": JSON,
    "JSON, fenced": f"```json\n{JSON}\n```",
    "JSON, fenced as Python": f"```python\n{JSON}\n```",
    "JSON, fenced, unclosed": f"```json\n{JSON}\n",
    "JSON with prose around": f"Here it is: {JSON}\nI hope that it helps.",
    "JSON within <answer>": f"<answer>{JSON}</answer>",
    "code for program": JSON.replace('"program"', '"code"'),
    "source for program": JSON.replace('"program"', '"source"'),
    "a trailing comma": JSON.replace("\n}", ",\n}"),
    "// comments": JSON.replace("{\n", "{  // my proposal\n").replace('  "mot', '  // why\n  "mot'),
    "# comments": JSON.replace("{\n", "{\n  # my proposal\n"),
    "/* comments */": JSON.replace("{\n", "{ /* my\n proposal */\n"),
    "single quotes": repr(DATA),
    "keys without quotes": re.sub(r'"(name|motivation|program)":', r"\1:", JSON),
    "curly quotes around names": JSON.replace('"name": "RunningMean"', "“name”: “RunningMean”"),
    "literal line ends in the string": JSON.replace(TEXT, f'"{ESCAPED}"'),
    "triple single quotes": JSON.replace(TEXT, f"'''{PROGRAM}'''"),
    "triple double quotes": JSON.replace(
        TEXT, '"""{}"""'.format(PROGRAM.replace('"""', '\\"\\"\\"'))
    ),
    "a raw string": JSON.replace(TEXT, f"r'''{PROGRAM}'''"),
    "backticks": JSON.replace(TEXT, f"`{PROGRAM}`"),
    "quotes that are not escaped": JSON.replace(TEXT, f'"{PROGRAM}"'),
    "escaped twice": JSON.replace(TEXT, json.dumps(TEXT[1:-1].replace('\\"', '"'))),
    "a list of lines": json.dumps(DATA | {"program": LINES}),
    "strings side by side": JSON.replace(
        TEXT, "\n".join(json.dumps(f"{line}\n") for line in LINES)
    ),
    "strings that are added": JSON.replace(TEXT, " + ".join(json.dumps(f"{s}\n") for s in LINES)),
    "a fence in the string": json.dumps(DATA | {"program": BLOCK}),
    "a fence in the string, fenced": f"```json\n{json.dumps(DATA | {'program': BLOCK})}\n```",
    "in a list": f"[{JSON}]",
    "within an object": f'{{"proposal": {JSON}}}',
    "non-standard values": JSON.replace("{\n", '{\n  "cost": NaN, "rank": None, "ok": true,\n'),
    "a tool call": json.dumps({"name": "submit", "arguments": DATA}),
    "a tool call whose arguments are text": json.dumps({"name": "submit", "arguments": JSON}),
    "a tool call in tags": f'<tool_call>\n{{"name": "submit", "arguments": {JSON}}}\n</tool_call>',
    "a list of tool calls": json.dumps(
        {"tool_calls": [{"function": {"name": "submit", "arguments": JSON}}]}
    ),
    "another form of tool call": json.dumps({"type": "tool_use", "name": "submit", "input": DATA}),
}
UNDERSTOOD = {
    f"{table}: {what}": answer
    for table, answers in {
        "Markdown": MARKDOWN,
        "blocks": BLOCKS,
        "bare": BARE,
        "characters": CHARACTERS,
        "thoughts": THOUGHTS,
        "JSON": OBJECTS,
    }.items()
    for what, answer in answers.items()
}
