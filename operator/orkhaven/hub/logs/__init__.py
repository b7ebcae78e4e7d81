"""Logs of attempts, kept after their pods are gone: `collector` follows them, `store` keeps them, `read` and `grep`
show them, `stamps` knows where a log was left. Knows of gateway, writer and store; nothing of HTTP routes.
"""
