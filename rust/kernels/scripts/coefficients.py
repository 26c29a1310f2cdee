"""Writes src/math/coefficients.rs: the constants of the elementary functions, fitted here and nowhere else.

    python3 scripts/coefficients.py > src/math/coefficients.rs && rustfmt src/math/coefficients.rs

Each polynomial is the minimax one for its weight (the exchange algorithm of Remez on a fine grid, in 40 digits).
The lowest coefficients are rounded to the type one by one, and the others fitted anew after each, so that they make up
for it, as long as that helps. Needs mpmath; takes a minute.
"""

import struct
from dataclasses import dataclass

from mpmath import mp, mpf

mp.dps = 40


@dataclass(frozen=True)
class Type:
    """An element type, and how much of each polynomial it needs."""

    name: str
    digits: int  # binary digits of the fraction, the leading one included
    bias: int
    exponent_digits: int  # binary digits of the largest |n| in 2^n
    terms: dict  # number of coefficients
    exp_range: tuple  # below and above: 0 and infinity
    tanh_split: float  # below: the polynomial; above: through 2^y
    tanh_largest: float  # from here on tanh is 1
    normal_largest: float  # from here on the tail of the normal distribution is 0

    def round(self, x, digits=None):
        with mp.workprec(digits or self.digits):
            return +mpf(x)

    def literal(self, x):
        """The shortest decimal that reads back as x."""
        x = float(x)
        if self.name == "f64":
            return repr(x)
        for n in range(1, 10):
            text = f"{x:.{n}g}"
            if struct.pack("f", float(text)) == struct.pack("f", x):
                return repr(float(text))
        raise AssertionError(x)


F32 = Type(
    name="f32",
    digits=24,
    bias=127,
    exponent_digits=8,
    terms={"EXP": 5, "EXP2": 6, "TANH": 7, "LOG": 9, "MILLS": 10},
    exp_range=(-104, 89),
    tanh_split=1.0,
    tanh_largest=9.1,
    normal_largest=15,
)
F64 = Type(
    name="f64",
    digits=53,
    bias=1023,
    exponent_digits=11,
    terms={"EXP": 10, "EXP2": 12, "TANH": 12, "LOG": 21, "MILLS": 24},
    exp_range=(-746, 710),
    tanh_split=0.6,
    tanh_largest=20,
    normal_largest=39,
)

LN2 = mp.log(2)
MILLS_CENTRE = 4
REFITS = 4


def horner(coefficients, x):
    value = mpf(0)
    for c in reversed(coefficients):
        value = value * x + c
    return value


def minimax(points, target, weight, n):
    """The n coefficients that make the largest |weight (polynomial - target)| on the points smallest, and that."""
    size = len(points)
    # The first reference: the extrema of a Chebyshev polynomial.
    reference = [round((size - 1) * (1 - mp.cos(mp.pi * i / n)) / 2) for i in range(n + 1)]
    for _ in range(60):
        rows = mp.matrix(n + 1, n + 1)
        right = mp.matrix(n + 1, 1)
        for i, at in enumerate(reference):
            power = weight[at]
            for k in range(n):
                rows[i, k] = power
                power *= points[at]
            rows[i, n] = (-1) ** i
            right[i] = weight[at] * target[at]
        solution = mp.lu_solve(rows, right)
        coefficients = [solution[k] for k in range(n)]
        level = abs(solution[n])
        error = [w * (horner(coefficients, x) - y) for x, y, w in zip(points, target, weight)]
        # The new reference: the largest error of each run of one sign.
        runs = []
        for at in range(size):
            if runs and (error[at] > 0) == (error[runs[-1]] > 0):
                if abs(error[at]) > abs(error[runs[-1]]):
                    runs[-1] = at
            else:
                runs.append(at)
        while len(runs) > n + 1:
            runs.pop(0 if abs(error[runs[0]]) < abs(error[runs[-1]]) else -1)
        largest = max(abs(e) for e in error)
        if len(runs) < n + 1 or largest < level * mpf("1.001"):
            break
        reference = runs
    return coefficients, largest


def fit(kind, low, high, target, weight, n):
    """As `minimax` on [low, high] for functions, with coefficients of the type; and the largest error left."""
    size = 30 * n
    points = [
        (low + high) / 2 - (high - low) / 2 * mp.cos(mp.pi * (i + mpf(1) / 2) / size) for i in range(size)
    ]
    # A point at which the target is 0/0.
    points = [x for x in points if abs(x) > mpf(10) ** -12]
    wanted = [target(x) for x in points]
    weights = [weight(x) for x in points]
    best = None
    fixed = []
    for _ in range(min(REFITS, n)):
        coefficients, _ = minimax(points, wanted, weights, n - len(fixed))
        candidate = fixed + [kind.round(c) for c in coefficients]
        error = max(abs(weight(x) * (horner(candidate, x) - target(x))) for x in points)
        if best is None or error < best[1]:
            best = (candidate, error)
        first = kind.round(coefficients[0])
        fixed.append(first)
        wanted = [(y - first) / x for x, y in zip(points, wanted)]
        weights = [w * x for x, w in zip(points, weights)]
    return best


def mills(a):
    """The tail of the normal distribution beyond a, over exp(-a^2/2)."""
    return mp.erfc(a / mp.sqrt(2)) * mp.exp(a * a / 2) / 2


def constants(kind):
    """Lines of the implementation for one type."""
    lines = [f"impl Coefficients for {kind.name} {{"]

    def say(name, value, comment=None):
        if comment:
            lines.append(f"    // {comment}")
        lines.append(f"    const {name}: Self = {kind.literal(value)};")

    def polynomial(name, low, high, target, weight):
        coefficients, error = fit(kind, low, high, target, weight, kind.terms[name])
        ulps = error * 2**kind.digits
        size = f"{mp.nstr(error, 2)}, or {mp.nstr(ulps, 2)} of 2^-{kind.digits}"
        lines.append(f"    // Largest error of the polynomial: {size}.")
        values = ", ".join(kind.literal(c) for c in coefficients)
        lines.append(f"    const {name}: &'static [Self] = &[{values}];")

    say("ROUNDER", 3 * mpf(2) ** (kind.digits - 2) + kind.bias)
    say("SMALLEST_NORMAL", mpf(2) ** (1 - kind.bias))
    high = kind.round(LN2, kind.digits - kind.exponent_digits - 1)
    say("LOG2_E", kind.round(1 / LN2))
    say("LN_2_HIGH", high)
    say("LN_2_LOW", kind.round(LN2 - high))
    say("EXP_IS_0", kind.exp_range[0])
    say("EXP_IS_INFINITE", kind.exp_range[1])
    # A little beyond ln(2)/2, since n is rounded from an inexact product.
    r = LN2 / 2 * mpf("1.0001")
    polynomial("EXP", -r, r, lambda r: (mp.expm1(r) - r) / r**2, lambda r: r**2 / abs(mp.expm1(r)))
    say("TWO_LOG2_E", kind.round(2 / LN2))
    f = mpf("0.50005")
    polynomial("EXP2", -f, f, lambda f: mp.expm1(f * LN2) / f, lambda f: abs(f) / 2**f)
    say("TANH_SPLIT", kind.tanh_split)
    say("TANH_IS_1", kind.tanh_largest)

    def tanh_rest(y):
        x = mp.sqrt(y)
        return (mp.tanh(x) / x - 1) / y

    split = mpf(kind.tanh_split)
    polynomial("TANH", mpf(0), split**2, tanh_rest, lambda y: y * mp.sqrt(y) / mp.tanh(mp.sqrt(y)))
    low, high = 1 / mp.sqrt(2) - 1, mp.sqrt(2) - 1
    polynomial("LOG", low, high, lambda f: (mp.log1p(f) - f) / f**2, lambda f: f**2 / abs(mp.log1p(f)))
    say("NORMAL_TAIL_IS_0", kind.normal_largest)

    def distance(t):
        return MILLS_CENTRE * (1 - t) / (1 + t)

    def scaled_mills(t):
        return mills(distance(t)) * 2 / (1 + t)

    lowest = mpf(MILLS_CENTRE - kind.normal_largest) / (MILLS_CENTRE + kind.normal_largest)
    polynomial("MILLS", lowest, mpf(1), scaled_mills, lambda t: 1 / scaled_mills(t))
    lines.append("}")
    return lines


HEAD = """\
//! The constants of the elementary functions. Written by `scripts/coefficients.py`: change that, and run it again.
//!
//! In: nothing. Out: what `exp.rs` and its neighbours are made of, for each element type.
//! The lowest power comes first; polynomials are fitted for the smallest relative error of what they are part of.

#![expect(clippy::approx_constant, reason = "fitted coefficients come close to ln 2 without being it")]

/// The constants of an element type.
pub trait Coefficients: Sized + 'static {
    /// 1.5 x 2^23 (2^52) + the bias: a whole number added to it stands in the low bits, as a biased exponent.
    const ROUNDER: Self;
    /// The smallest number with a full fraction.
    const SMALLEST_NORMAL: Self;
    /// log2(e)
    const LOG2_E: Self;
    /// ln 2, so short that a product with the exponent of any number is exact.
    const LN_2_HIGH: Self;
    /// ln 2 - LN_2_HIGH
    const LN_2_LOW: Self;
    /// exp is 0 here and below.
    const EXP_IS_0: Self;
    /// exp is infinite here and above.
    const EXP_IS_INFINITE: Self;
    /// e^r = 1 + r + r^2 EXP(r) for |r| <= ln(2)/2
    const EXP: &'static [Self];
    /// 2 log2(e)
    const TWO_LOG2_E: Self;
    /// 2^f = 1 + f EXP2(f) for |f| <= 1/2
    const EXP2: &'static [Self];
    /// Up to here tanh is a polynomial.
    const TANH_SPLIT: Self;
    /// tanh is 1 here and above.
    const TANH_IS_1: Self;
    /// tanh(x) = x + x^3 TANH(x^2) up to TANH_SPLIT
    const TANH: &'static [Self];
    /// log(1 + f) = f + f^2 LOG(f) for 1 + f from sqrt(1/2) to sqrt(2)
    const LOG: &'static [Self];
    /// The normal distribution has nothing left from here on.
    const NORMAL_TAIL_IS_0: Self;
    /// The tail beyond a is exp(-a^2/2) u MILLS(2u - 1), u = 4/(4 + a)
    const MILLS: &'static [Self];
}
"""

if __name__ == "__main__":
    print(HEAD)
    print("\n".join(constants(F32)))
    print()
    print("\n".join(constants(F64)))
