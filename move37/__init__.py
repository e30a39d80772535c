"""move37 discovers neural sequence mixers: proposes, proves, trains, compares, and learns."""

__version__ = "0.1.0"
