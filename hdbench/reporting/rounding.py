"""Numbers as people read them: scaled as the field prints them, rounded by how sure they are."""

import math
from dataclasses import dataclass

from hdbench.metrics.protocols import PROTOCOLS
from hdbench.records import Score

_MOST_DECIMALS = 8
_PLAIN = 1e-4
"""From here on numbers are written without a power of ten, whatever their interval."""


@dataclass(frozen=True)
class Rounded:
    """A value as shown, rounded so that its interval keeps one digit, or two where the first is a 1."""

    value: str
    plus: str = ""
    minus: str = ""

    @property
    def is_symmetric(self) -> bool:
        """Whether one ± says it all."""
        return self.plus == self.minus

    def __str__(self) -> str:
        if not self.plus:
            return self.value
        return f"{self.value} ± {self.plus}" if self.is_symmetric else f"{self.value} +{self.plus} −{self.minus}"


def in_full(score: Score) -> str:
    """The exact value, its interval and unit, and its signature, for who wants to know."""
    if score.value is None:
        return f"no value: {score.reason or 'no reason given'}\n{score.signature}"
    interval = f" [{score.interval[0]:.6g}, {score.interval[1]:.6g}]" if score.interval else ""
    return f"{score.value:.6g}{interval} {score.unit}\n{score.signature}"


def rounded(score: Score, scale: float) -> Rounded:
    """`score` times `scale` as text; a dash where there is no value."""
    if score.value is None:
        return Rounded("–")
    value = score.value * scale
    if score.interval is None:
        return Rounded(three_digits(value))
    plus, minus = score.interval[1] * scale - value, value - score.interval[0] * scale
    width = (plus + minus) / 2
    digits = _decimals(width) if width > 0 else max(0, 2 - math.floor(math.log10(abs(value) or 1)))
    if abs(plus - minus) <= 0.25 * width:  # a difference nobody acts on
        plus = minus = width
    return Rounded(_fixed(value, digits), _fixed(max(0.0, plus), digits), _fixed(max(0.0, minus), digits))


def three_digits(value: float) -> str:
    """`value` with three digits, zeros kept, so that numbers in a column compare at a glance."""
    return f"{value:#.3g}".removesuffix(".")


def _fixed(number: float, digits: int) -> str:
    """`number` with so many decimals; in powers of ten where these are more than anyone counts."""
    if digits <= _MOST_DECIMALS:
        return f"{number:.{digits}f}"
    if abs(number) >= _PLAIN:
        return f"{number:.{_MOST_DECIMALS}f}"
    number = round(number, digits)
    return f"{number:.{max(0, digits + _scientific(number)[1])}e}" if number else "0"


def _decimals(width: float) -> int:
    leading, exponent = _scientific(width)
    return max(0, -exponent + (1 if leading < 1.95 else 0))


def _scientific(number: float) -> tuple[float, int]:
    """Leading digits and exponent; by way of text, as powers of ten run out before the least numbers do."""
    leading, _, exponent = f"{number:.16e}".partition("e")
    return float(leading), int(exponent)


def display_scale(protocol: str, metric: str, unit: str) -> float:
    """What values of `metric` are multiplied by in tables: percent, or the power of ten of the protocol's paper."""
    if unit == "fraction":
        return 100.0
    return PROTOCOLS[protocol].scale(metric) if protocol in PROTOCOLS else 1.0
