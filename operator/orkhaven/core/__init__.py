"""Pure decisions: what is observed goes in as views, what is to be done comes out as actions.

No I/O, no clock, no unseeded randomness. May import the standard library, `orkhaven.api` and `orkrun.contract`.
"""
