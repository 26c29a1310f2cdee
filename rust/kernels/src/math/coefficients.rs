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

impl Coefficients for f32 {
    const ROUNDER: Self = 12583039.0;
    const SMALLEST_NORMAL: Self = 1.1754944e-38;
    const LOG2_E: Self = 1.442695;
    const LN_2_HIGH: Self = 0.69314575;
    const LN_2_LOW: Self = 1.4286068e-06;
    const EXP_IS_0: Self = -104.0;
    const EXP_IS_INFINITE: Self = 89.0;
    // Largest error of the polynomial: 1.4e-8, or 0.24 of 2^-24.
    const EXP: &'static [Self] = &[0.49999997, 0.16666539, 0.041667756, 0.00836712, 0.0013835785];
    const TWO_LOG2_E: Self = 2.88539;
    // Largest error of the polynomial: 1.2e-8, or 0.21 of 2^-24.
    const EXP2: &'static [Self] = &[0.6931472, 0.24022594, 0.055503663, 0.009625446, 0.0013387905, 0.00013331667];
    const TANH_SPLIT: Self = 1.0;
    const TANH_IS_1: Self = 9.1;
    // Largest error of the polynomial: 5.1e-9, or 0.086 of 2^-24.
    const TANH: &'static [Self] =
        &[-0.33333296, 0.13332348, -0.053879987, 0.021487176, -0.007946846, 0.0023018857, -0.00035859647];
    // Largest error of the polynomial: 4.8e-9, or 0.081 of 2^-24.
    const LOG: &'static [Self] = &[
        -0.49999988,
        0.33333337,
        -0.2500164,
        0.20001204,
        -0.1660675,
        0.14196275,
        -0.13279839,
        0.12822598,
        -0.07422685,
    ];
    const NORMAL_TAIL_IS_0: Self = 15.0;
    // Largest error of the polynomial: 2.0e-8, or 0.34 of 2^-24.
    const MILLS: &'static [Self] = &[
        0.18882129,
        0.15197414,
        0.09678406,
        0.04663094,
        0.015102796,
        0.0018805775,
        -0.0008847527,
        -0.0003888277,
        5.238044e-05,
        2.7402199e-05,
    ];
}

impl Coefficients for f64 {
    const ROUNDER: Self = 6755399441056767.0;
    const SMALLEST_NORMAL: Self = 2.2250738585072014e-308;
    const LOG2_E: Self = 1.4426950408889634;
    const LN_2_HIGH: Self = 0.6931471805601177;
    const LN_2_LOW: Self = -1.7239444525614835e-13;
    const EXP_IS_0: Self = -746.0;
    const EXP_IS_INFINITE: Self = 710.0;
    // Largest error of the polynomial: 3.1e-17, or 0.28 of 2^-53.
    const EXP: &'static [Self] = &[
        0.5000000000000006,
        0.1666666666666659,
        0.04166666666657677,
        0.008333333333389394,
        0.0013888888931560563,
        0.0001984126971943769,
        2.480150527815538e-05,
        2.755740709945322e-06,
        2.762603634272776e-07,
        2.5053928488197316e-08,
    ];
    const TWO_LOG2_E: Self = 2.8853900817779268;
    // Largest error of the polynomial: 4.3e-18, or 0.038 of 2^-53.
    const EXP2: &'static [Self] = &[
        0.6931471805599453,
        0.24022650695909997,
        0.05550410866482376,
        0.009618129107670773,
        0.0013333558145900053,
        0.00015403530315028863,
        1.5252734318382553e-05,
        1.3215550029436333e-06,
        1.0177863096055043e-07,
        7.0317682789829994e-09,
        4.48432605501438e-10,
        5.717652103980809e-11,
    ];
    const TANH_SPLIT: Self = 0.6;
    const TANH_IS_1: Self = 20.0;
    // Largest error of the polynomial: 1.4e-19, or 0.0013 of 2^-53.
    const TANH: &'static [Self] = &[
        -0.33333333333333326,
        0.13333333333331865,
        -0.05396825396725826,
        0.02186948850253374,
        -0.008863234866051896,
        0.0035921196872860392,
        -0.0014557641741663717,
        0.0005896223958271259,
        -0.00023751281273479835,
        9.248912870408628e-05,
        -3.1178012566440644e-05,
        6.503036078951415e-06,
    ];
    // Largest error of the polynomial: 2.6e-18, or 0.023 of 2^-53.
    const LOG: &'static [Self] = &[
        -0.5,
        0.3333333333333363,
        -0.25000000000000283,
        0.19999999999886342,
        -0.16666666666508262,
        0.14285714300622623,
        -0.1250000002739559,
        0.11111110158115331,
        -0.09999997816047168,
        0.09090943031594437,
        -0.08333427863135215,
        0.07691602494003773,
        -0.07140463421971414,
        0.06674974359294195,
        -0.0628621142276891,
        0.058369342342538155,
        -0.05238830409258714,
        0.052268546991155476,
        -0.06401012942354974,
        0.0631078480612089,
        -0.028649731758379777,
    ];
    const NORMAL_TAIL_IS_0: Self = 39.0;
    // Largest error of the polynomial: 3.9e-17, or 0.35 of 2^-53.
    const MILLS: &'static [Self] = &[
        0.18882128260393788,
        0.15197416049297302,
        0.09678435018555182,
        0.04663046448991421,
        0.015099143722832055,
        0.001885047241699506,
        -0.0008699230939033449,
        -0.00040770461471512087,
        3.333610029761424e-05,
        5.777373553892447e-05,
        -4.772052650745171e-07,
        -8.786169110953767e-06,
        1.7972611110243557e-07,
        1.4799760802291644e-06,
        -1.5886479389518466e-07,
        -2.550659199248146e-07,
        7.03529316507306e-08,
        3.7962697107703746e-08,
        -2.3857784262044692e-08,
        -2.2720898868241226e-09,
        6.392942301537939e-09,
        -1.2308213355459298e-09,
        -1.0146820464874955e-09,
        4.055784379219628e-10,
    ];
}
