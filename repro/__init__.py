"""Second-order optimisers for neural-network quantum states, compared on trapped one-dimensional fermions."""

__version__ = "0.1.0"
