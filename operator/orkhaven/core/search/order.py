"""A shuffle of 0..count-1 that is never written down: where a number goes, and where one came from.

A Feistel network over the smallest even number of bits that holds `count`, walked until it lands inside. A count of
10^12 costs as little as one of 10.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

ROUNDS = 6


class Shuffle:
    """The shuffle that belongs to (count, seed): the same in every process."""

    def __init__(self, count: int, seed: int) -> None:
        self._count = count
        self._seed = seed
        self._half = max(1, ((count - 1).bit_length() + 1) // 2)
        self._mask = (1 << self._half) - 1

    def __getitem__(self, place: int) -> int:
        """What stands at `place`, 0 <= place < count."""
        return self._walk(place, range(ROUNDS))

    def place_of(self, number: int) -> int:
        """Where `number` stands."""
        # The network backwards is the network with its halves exchanged and its rounds reversed.
        return self._walk(number, range(ROUNDS - 1, -1, -1), swapped=True)

    def _walk(self, number: int, rounds: Iterable[int], *, swapped: bool = False) -> int:
        if not 0 <= number < self._count:
            raise IndexError(f"{number} of {self._count}")
        while True:
            number = self._swap(number) if swapped else number
            for turn in rounds:
                left, right = number >> self._half, number & self._mask
                number = right << self._half | (left ^ self._mixed(turn, right))
            number = self._swap(number) if swapped else number
            if number < self._count:
                return number

    def _swap(self, number: int) -> int:
        return (number & self._mask) << self._half | number >> self._half

    def _mixed(self, turn: int, right: int) -> int:
        size = (self._half + 7) // 8
        mixed = hashlib.shake_256(f"order/{self._seed}/{self._count}/{turn}/{right:x}".encode()).digest(size)
        return int.from_bytes(mixed, "big") & self._mask
