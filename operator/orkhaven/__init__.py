"""Orkhaven: sweeps of GPU training jobs on Kubernetes."""

__version__ = "0.1.0"
