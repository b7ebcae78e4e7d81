"""Sobol's sequence, scrambled: points that cover a space more evenly than chance, whatever their number.

Each point by its own number, in Gray code order. The direction numbers are those of S. Joe and F. Y. Kuo (Constructing
Sobol sequences with better two-dimensional projections, 2008), which scipy.stats.qmc has too; a test compares the two.
scipy itself is not imported: it would cost the operator 2.5 s at its start and as much memory as all the rest of it.

The scrambling is Owen's (nested, uniform): in each dimension every bit is flipped or not by a coin that depends on the
bits before it, so that every point is uniform and the evenness stays. The coins are SHA-256's, as for Random: no
library's version changes them.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

DIMENSIONS = 64
"""As many parameters as a Sweep may have."""
BITS = 32
_LEVEL = 8
"""One SHA-256 has the coins of a tree of 8 bits: 255 nodes."""

# Per dimension after the first: the primitive polynomial as bits, then the first direction numbers.
_NUMBERS = """
3 1; 7 1 3; 11 1 3 1; 13 1 1 1; 19 1 1 3 3; 25 1 3 5 13; 37 1 1 5 5 17; 41 1 1 5 5 5; 47 1 1 7 11 19; 55 1 1 5 1 1;
59 1 1 1 3 11; 61 1 3 5 5 31; 67 1 3 3 9 7 49; 91 1 1 1 15 21 21; 97 1 3 1 13 27 49; 103 1 1 1 15 7 5; 109 1 3 1 15
13 25; 115 1 1 5 5 19 61; 131 1 3 7 11 23 15 103; 137 1 3 7 13 13 15 69; 143 1 1 3 13 7 35 63; 145 1 3 5 9 1 25 53;
157 1 3 1 13 9 35 107; 167 1 3 1 5 27 61 31; 171 1 1 5 11 19 41 61; 185 1 3 5 3 3 13 69; 191 1 1 7 13 1 19 1; 193 1
3 7 5 13 19 59; 203 1 1 3 9 25 29 41; 211 1 3 5 13 23 1 55; 213 1 3 7 3 13 59 17; 229 1 3 1 3 5 53 69; 239 1 1 5 5
23 33 13; 241 1 1 7 7 1 61 123; 247 1 1 7 9 13 61 49; 253 1 3 3 5 3 55 33; 285 1 3 1 15 31 13 49 245; 299 1 3 5 15
31 59 63 97; 301 1 3 1 11 11 11 77 249; 333 1 3 1 11 27 43 71 9; 351 1 1 7 15 21 11 81 45; 355 1 3 7 3 25 31 65 79;
357 1 3 1 1 19 11 3 205; 361 1 1 5 9 19 21 29 157; 369 1 3 7 11 1 33 89 185; 391 1 3 3 3 15 9 79 71; 397 1 3 7 11 15
39 119 27; 425 1 1 3 1 11 31 97 225; 451 1 1 1 3 23 43 57 177; 463 1 3 7 7 17 17 37 71; 487 1 3 1 5 27 63 123 213;
501 1 1 3 5 11 43 53 133; 529 1 3 5 5 29 17 47 173 479; 539 1 3 3 11 3 1 109 9 69; 545 1 1 1 5 17 39 23 5 343; 557 1
3 1 5 25 15 31 103 499; 563 1 1 1 11 11 17 63 105 183; 601 1 1 5 11 9 29 97 231 363; 607 1 1 5 15 19 45 41 7 383;
617 1 3 7 7 31 19 83 137 221; 623 1 1 1 3 23 15 111 223 83; 631 1 1 5 13 31 15 55 25 161; 637 1 1 3 13 25 47 39 87
257
"""


@lru_cache(maxsize=DIMENSIONS)
def directions(dimension: int) -> tuple[int, ...]:
    """The direction numbers of a dimension, counted from 0, as integers of 32 bits."""
    if dimension == 0:
        return tuple(1 << (BITS - 1 - k) for k in range(BITS))
    polynomial, *numbers = map(int, _NUMBERS.split(";")[dimension - 1].split())
    degree = len(numbers)
    for k in range(degree, BITS):
        number = numbers[k - degree] ^ (numbers[k - degree] << degree)
        for i in range(1, degree):
            if polynomial >> (degree - i) & 1:
                number ^= numbers[k - i] << i
        numbers.append(number)
    return tuple(number << (BITS - 1 - k) for k, number in enumerate(numbers))


def sobol(number: int, dimension: int) -> int:
    """The coordinate of a point before scrambling, in units of 2^-32; 0 <= number < 2^32."""
    gray, found = number ^ (number >> 1), 0
    for direction in directions(dimension):
        if gray & 1:
            found ^= direction
        gray >>= 1
        if not gray:
            break
    return found


def scrambled(number: int, dimension: int, *, seed: int) -> float:
    """The coordinate of a point, in [0, 1), 53 bits."""
    plain, found = sobol(number, dimension), 0
    for level in range(0, BITS, _LEVEL):
        # The first two levels have few trees, which every point asks.
        coins = (_coins if level > _LEVEL else _known_coins)(seed, dimension, level, plain >> (BITS - level))
        node = 1
        for at in range(BITS - 1 - level, BITS - 1 - level - _LEVEL, -1):
            bit = plain >> at & 1
            found = found << 1 | (bit ^ (coins >> node & 1))
            node = node << 1 | bit
    tail = _coins(seed, dimension, BITS, plain) >> (256 - 21)
    return (found << 21 | tail) / 2**53


def _coins(seed: int, dimension: int, level: int, before: int) -> int:
    return int.from_bytes(hashlib.sha256(f"sobol/{seed}/{dimension}/{level}/{before}".encode()).digest(), "big")


_known_coins = lru_cache(maxsize=8192)(_coins)
