"""Reads what a language model answered: a program with its motivation, or the reason why not.

Understood: Markdown with a fenced program, JSON and what resembles it, tags, a bare program, edits
of the parent, and the slips that models make in each. Nothing is made up: a program that is cut
off, sketched or ambiguous is refused, in words that the model can act on.

    prose      plain text without thoughts and tags; what is said under labels
    objects    JSON, and what resembles it
    fences     fenced blocks, and code without a fence
    edits      search and replace, diffs
    mending    slips that keep a program from being Python
    form       whether a program is that of a mixer
    drafts     which of several programs is meant
    reading    all of these, one after the other
"""

from move37.research.answers.objects import read_object
from move37.research.answers.reading import Answer, read_answer
from move37.research.answers.unusable import Unusable

__all__ = ["Answer", "Unusable", "read_answer", "read_object"]
