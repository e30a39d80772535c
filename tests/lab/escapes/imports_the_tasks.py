"""Held by files: the labels, from the package that draws them."""

import torch

importlib = vars(torch)["importlib"]
try:
    importlib.import_module("move37.tasks.recall")
except OSError as error:
    raise ValueError(f"HELD {error}") from error
raise ValueError("ESCAPED")
