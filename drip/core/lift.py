"""How sure a difference is.

Confidence intervals of shares and of the difference of two.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

# 95 % of a normal distribution lies within so many standard deviations.
Z = 1.959964


@dataclass(frozen=True, slots=True)
class Share:
    """`met` of `count`, with its 95 % interval (Wilson's score, 1927).

    Without anybody it may be anything.
    """

    met: int
    count: int

    @property
    def rate(self) -> float:
        """From 0 to 1; 0 of nobody."""
        return self.met / self.count if self.count else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Its lower and upper bound."""
        if not self.count:
            return 0.0, 1.0
        n, p = self.count, self.rate
        middle, width = (
            p + Z * Z / (2 * n),
            Z * sqrt(p * (1 - p) / n + Z * Z / (4 * n * n)),
        )
        scale = 1 + Z * Z / n
        # Rounding must not leave the rate itself outside.
        return max(0.0, min(p, (middle - width) / scale)), min(
            1.0, max(p, (middle + width) / scale)
        )


@dataclass(frozen=True, slots=True)
class Lift:
    """How much higher one share is than another, with its 95 % interval.

    In points from -1 to 1.

    Newcombe's hybrid score interval (Statistics in Medicine 17, 1998, method 10), which
    holds for small counts too.
    """

    treated: Share
    control: Share

    @property
    def difference(self) -> float:
        """The difference of the rates."""
        return self.treated.rate - self.control.rate

    @property
    def interval(self) -> tuple[float, float]:
        """Its lower and upper bound."""
        (low, high), (lower, upper) = self.treated.interval, self.control.interval
        one, other = self.treated.rate, self.control.rate
        down = sqrt((one - low) ** 2 + (upper - other) ** 2)
        up = sqrt((high - one) ** 2 + (other - lower) ** 2)
        return max(-1.0, self.difference - down), min(1.0, self.difference + up)

    @property
    def sure(self) -> bool:
        """Whether it is a difference at all: zero lies outside of the interval."""
        low, high = self.interval
        return low > 0 or high < 0
