"""Chest-CT-like volumes made by rule, with perfect masks: data for a demonstration and for tests that needs no
licence.
"""
