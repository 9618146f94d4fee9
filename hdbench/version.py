"""The version of hdbench, for who cannot ask the package: it offers what imports them."""

__version__ = "0.1.0"
