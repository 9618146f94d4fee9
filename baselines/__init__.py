"""The methods under comparison, as plug-ins of hdbench."""
