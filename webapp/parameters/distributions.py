"""What a parameter may be drawn from. Made by sweeps of what a submission states.

A number depends on the fraction alone, to the last bit, on every machine: only what IEEE 754 fixes exactly is used. The
logarithms of C libraries differ, and so do sums of products that a compiler has fused."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

LEAST = 2.0**-54  # stands for fractions below it, for no normal number belongs to 0
_LN2 = 0.6931471805599453
# As many terms of the series as a float shows: of (e^x - 1) / x for |x| < 0.044, of artanh(x) / x for |x| < 0.18.
_EXP_TERMS = (1 / 40320, 1 / 5040, 1 / 720, 1 / 120, 1 / 24, 1 / 6, 1 / 2, 1.0)
_ARTANH_TERMS = tuple(1.0 / odd for odd in range(25, 0, -2))
_ROOTS = (1.0, 1.0905077326652577, 1.189207115002721, 1.2968395546510096,
          1.4142135623730951, 1.5422108254079407, 1.681792830507429, 1.8340080864093424)  # 2^(n/8)


@dataclass(frozen=True)
class Uniform:
    """Each number from low to high alike."""

    low: float
    high: float

    def fault(self) -> str | None:
        """What is wrong with the numbers, if anything."""
        return _misordered(self.low, self.high)

    def at(self, fraction: float) -> float:
        """The number below which this fraction of all lies, low <= it <= high."""
        return min(self.high, self.low + (self.high - self.low) * fraction)


@dataclass(frozen=True)
class LogUniform:
    """Each order of magnitude from low to high alike."""

    low: float
    high: float

    def fault(self) -> str | None:
        """What is wrong with the numbers, if anything."""
        if self.low <= 0:
            return f"takes numbers above 0, and {self.low:g} is not"
        return _misordered(self.low, self.high)

    def at(self, fraction: float) -> float:
        """The number below which this fraction of all lies, low <= it <= high."""
        first, last = self._ends
        return min(self.high, max(self.low, _exp(first + (last - first) * fraction)))

    @cached_property
    def _ends(self) -> tuple[float, float]:
        return _ln(self.low), _ln(self.high)


@dataclass(frozen=True)
class Normal:
    """The normal distribution, without bounds."""

    mean: float
    standard_deviation: float

    def fault(self) -> str | None:
        """What is wrong with the numbers, if anything."""
        if self.standard_deviation < 0:
            return f"takes a standard deviation of at least 0, and {self.standard_deviation:g} is less"
        return None

    def at(self, fraction: float) -> float:
        """The number below which this fraction of all lies; those of 0 and 1 are as far out as any is drawn."""
        if not LEAST <= fraction < 1:
            fraction = LEAST if fraction < LEAST else 1 - 2 * LEAST
        return self.mean + self.standard_deviation * _standard_normal(fraction)


Distribution = Uniform | LogUniform | Normal
DISTRIBUTIONS: Mapping[str, type[Uniform] | type[LogUniform] | type[Normal]] = MappingProxyType(
    {"uniform": Uniform, "log_uniform": LogUniform, "normal": Normal})


def _misordered(low: float, high: float) -> str | None:
    return f"takes [low, high], and {low:g} is more than {high:g}" if low > high else None


def _ln(value: float) -> float:
    """The natural logarithm, by value = 2^n share, and ln share = 2 artanh((share - 1) / (share + 1))."""
    share, doublings = math.frexp(value)
    if share < 0.7071067811865476:
        share, doublings = 2 * share, doublings - 1
    part = (share - 1.0) / (share + 1.0)
    square = part * part
    total = 0.0
    for term in _ARTANH_TERMS:
        total = total * square + term
    return doublings * _LN2 + 2.0 * part * total


def _exp(power: float) -> float:
    """e^power, by e^power = 2^(n/8) e^rest."""
    eighths = round(power * 8 / _LN2)
    rest = power - eighths * (_LN2 / 8)
    doublings, root = divmod(eighths, 8)
    return math.ldexp(_ROOTS[root] * (1.0 + rest * _value(_EXP_TERMS, rest)), doublings)


# Wichura (1988), algorithm AS 241, to 16 digits: numerators and denominators of three quotients of polynomials, for the
# middle 85 percent, the slopes, and the tails beyond e^-25. doi:10.2307/2347330
_MIDDLE = (
    (2509.0809287301227, 33430.57558358813, 67265.7709270087, 45921.95393154987,
     13731.69376550946, 1971.5909503065513, 133.14166789178438, 3.3871328727963665),
    (5226.495278852854, 28729.085735721943, 39307.89580009271, 21213.794301586597,
     5394.196021424751, 687.1870074920579, 42.31333070160091, 1.0),
)
_SLOPES = (
    (0.0007745450142783414, 0.022723844989269184, 0.2417807251774506, 1.2704582524523684,
     3.6478483247632045, 5.769497221460691, 4.630337846156546, 1.4234371107496835),
    (1.0507500716444169e-09, 0.0005475938084995345, 0.015198666563616457, 0.14810397642748008,
     0.6897673349851, 1.6763848301838038, 2.053191626637759, 1.0),
)
_TAILS = (
    (2.0103343992922881e-07, 2.7115555687434876e-05, 0.0012426609473880784, 0.026532189526576124,
     0.29656057182850487, 1.7848265399172913, 5.463784911164114, 6.657904643501103),
    (2.0442631033899397e-15, 1.421511758316446e-07, 1.8463183175100548e-05, 0.0007868691311456133,
     0.014875361290850615, 0.1369298809227358, 0.599832206555888, 1.0),
)


def _standard_normal(fraction: float) -> float:
    """The number below which this fraction of the standard normal distribution lies; 0 < fraction < 1."""
    off = fraction - 0.5
    if abs(off) <= 0.425:
        near = 0.180625 - off * off
        return off * _value(_MIDDLE[0], near) / _value(_MIDDLE[1], near)
    far = math.sqrt(-_ln(fraction if off < 0 else 1 - fraction))
    (above, below), start = (_SLOPES, 1.6) if far <= 5 else (_TAILS, 5.0)
    out = _value(above, far - start) / _value(below, far - start)
    return -out if off < 0 else out


def _value(polynomial: tuple[float, ...], at: float) -> float:
    a, b, c, d, e, f, g, h = polynomial  # written out, for it is done once or twice for each number drawn
    return ((((((a * at + b) * at + c) * at + d) * at + e) * at + f) * at + g) * at + h
