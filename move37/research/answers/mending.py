"""Mends the slips that keep a program from being Python: line numbers, typographic quotes, tabs."""

import html
import re
import textwrap

from move37.research.syntax import Parsed, parse


def is_python(source: str) -> bool:
    """Says whether Python takes it as a program."""
    return isinstance(parse(source), Parsed)


_ENTITY = re.compile(r"&(?:lt|gt|amp|quot|apos|nbsp|#\d{1,6}|#[xX][0-9a-fA-F]{1,5});")
_ASCII = str.maketrans(
    {chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
    | dict.fromkeys("“”„‟″", '"')
    | dict.fromkeys("‘’‚‛′", "'")
    | dict.fromkeys("‐‑‒–—―−", "-")
    | {"×": "*", "÷": "/", "≤": "<=", "≥": ">=", "≠": "!=", "→": "->", "…": "...", "、": ","}
)
# A quote behind a backslash begins nothing: else each would be followed to the end of its line.
_QUOTED = re.compile(
    r'"{3}.*?"{3}|\'{3}.*?\'{3}|[“”]{3}.*?[“”]{3}|[‘’]{3}.*?[‘’]{3}'
    r'|(?<!\\)"(?:\\.|[^"\\\n])*"|(?<!\\)\'(?:\\.|[^\'\\\n])*\''
    r"|[“”][^“”\n]*[“”]|[‘’][^‘’\n]*[‘’]|#[^\n]*",
    re.S,
)


def mended(source: str) -> str:
    """Returns the source with as many mends as it takes to be Python, or else with all of them."""
    if is_python(without := _without_entities(source)):
        return without
    for mend in (_without_prefixes, _without_entities, _in_ascii, _without_tabs, textwrap.dedent):
        if is_python(source):
            break
        source = mend(source)
    return source


def _without_entities(source: str) -> str:
    return _ENTITY.sub(lambda entity: html.unescape(entity[0]).replace("\xa0", " "), source)


def _without_prefixes(source: str) -> str:
    """Returns the lines without a "+", a ">>>" or a line number before each, if each has one."""
    lines = [line for line in source.split("\n") if not line.startswith(("+++ ", "--- ", "@@"))]
    written = [line for line in lines if line.strip()]
    for prefix in (r"\+", r">>>|\.\.\.", r"[ \t]*\d{1,9}[ \t]?[|:→.)\t]?"):
        if written and all(re.match(prefix, line) for line in written):
            counts = [int(n[0]) for line in written if (n := re.search(r"\d{1,9}", line))]
            if "d" in prefix and sorted(set(counts)) != counts:
                continue
            return textwrap.dedent("\n".join(re.sub(rf"^(?:{prefix})", "", one) for one in lines))
    return source


def _in_ascii(source: str) -> str:
    """Returns the source with plain quotes, dashes and brackets outside of strings and comments."""
    parts, at = [], 0
    for quoted in _QUOTED.finditer(source):
        text = quoted[0]
        width = 3 if len(text) > 5 and text[1] in "\"'“”‘’" and text[2] in "\"'“”‘’" else 1
        if text[0] in "“”‘’":
            mark = ('"' if text[0] in "“”" else "'") * width
            text = f"{mark}{text[width:-width]}{mark}"
        parts += [source[at : quoted.start()].translate(_ASCII), text]
        at = quoted.end()
    return "".join([*parts, source[at:].translate(_ASCII)])


def _without_tabs(source: str) -> str:
    by_four = source.expandtabs(4)
    return by_four if is_python(by_four) else source.expandtabs(8)
