//! Optimizer steps against their twins in plain arithmetic: the same bits, at every tail, on every set, for any team.

mod changes;
mod numbers;
mod rules;

use dnn_kernels::{Adam, Isa, PenaltySums, Real, Sgd, Team, adam, add_penalty_gradient, penalty_sums, sgd};
use numbers::plain::{add, div, flushed, fma, mul, neg, sqrt};
use numbers::{Numbers, forgotten, pool, smallest_normal};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// One parameter, one step of gradient descent: p and v afterwards.
fn sgd_twin<T: Real>(rule: Sgd, rate: f64, p: T, g: T, v: T) -> (T, T) {
    let rate = T::from_f64(rate);
    let remember = |v: T| flushed(v, forgotten::<T>());
    match rule {
        Sgd::Plain => (fma(neg(rate), g, p), v),
        Sgd::Momentum(m) => {
            let v = remember(fma(T::from_f64(m), v, neg(mul(rate, g))));
            (add(p, v), v)
        }
        Sgd::Nesterov(m) => {
            let (m, step) = (T::from_f64(m), neg(mul(rate, g)));
            let v = remember(fma(m, v, step));
            (add(p, fma(m, v, step)), v)
        }
        Sgd::Dampened(m) => {
            let v = remember(fma(T::from_f64(m), v, mul(T::from_f64(1.0 - m), g)));
            (fma(neg(rate), v, p), v)
        }
    }
}

/// One parameter, one step of Adam: p, m, v and the largest v afterwards.
fn adam_twin<T: Real>(rule: Adam, p: T, g: T, m: T, v: T, largest: Option<T>) -> (T, T, T, T) {
    let (b1, b2) = (T::from_f64(rule.beta_1), T::from_f64(rule.beta_2));
    let (c1, c2) = (T::from_f64(1.0 - rule.beta_1), T::from_f64(1.0 - rule.beta_2));
    let limit = forgotten::<T>();
    let m = flushed(fma(b1, m, mul(c1, g)), limit);
    let g = flushed(g, limit.sqrt());
    let v = flushed(fma(b2, v, mul(c2, mul(g, g))), limit);
    let used = largest.map_or(v, |largest| if v > largest { v } else { largest });
    let root = fma(sqrt(used), T::from_f64(rule.scale), T::from_f64(rule.epsilon));
    (add(p, neg(div(mul(T::from_f64(rule.size), m), root))), m, v, used)
}

const RULES: [Sgd; 4] = [Sgd::Plain, Sgd::Momentum(0.9), Sgd::Nesterov(0.9), Sgd::Dampened(0.8)];

fn check_sgd<T: Real>(isa: Isa, team: &Team, n: usize) {
    for rule in RULES {
        let what = format!("{rule:?} {} {isa:?} n {n} threads {}", T::NAME, team.threads());
        let (mut p, g, mut v) = (Numbers::<T>::new(n, 1), Numbers::<T>::new(n, 2), Numbers::<T>::new(n, 3));
        let (mut p_twin, mut v_twin) = (p.inside().to_vec(), v.inside().to_vec());
        for _ in 0..3 {
            for (i, &g) in g.inside().iter().enumerate() {
                (p_twin[i], v_twin[i]) = sgd_twin(rule, 0.03, p_twin[i], g, v_twin[i]);
            }
            let velocity = if rule == Sgd::Plain { &mut [] } else { v.inside_mut() };
            sgd(isa, team, rule, 0.03, p.inside_mut(), g.inside(), velocity);
        }
        p.assert_is(&p_twin, &format!("p of {what}"));
        v.assert_is(&v_twin, &format!("v of {what}"));
        g.assert_is(Numbers::new(n, 2).inside(), &format!("g of {what}"));
    }
}

/// The constants of step t, as PyTorch has them.
fn adam_at(t: i32, rate: f64) -> Adam {
    let (beta_1, beta_2) = (0.9, 0.999);
    let (first, second) = (1.0 - 0.9f64.powi(t), (1.0 - 0.999f64.powi(t)).sqrt());
    Adam { beta_1, beta_2, size: rate / first, scale: 1.0 / second, epsilon: 1e-8 }
}

fn check_adam<T: Real>(isa: Isa, team: &Team, n: usize) {
    for amsgrad in [false, true] {
        let what = format!("adam, amsgrad {amsgrad}, {} {isa:?} n {n} threads {}", T::NAME, team.threads());
        let (mut p, g, mut m) = (Numbers::<T>::new(n, 1), Numbers::<T>::new(n, 2), Numbers::<T>::new(n, 3));
        let (mut v, mut largest) = (Numbers::<T>::new(n, 4).magnitudes(), Numbers::<T>::new(n, 5).magnitudes());
        let [mut p_twin, mut m_twin, mut v_twin, mut largest_twin] =
            [&p, &m, &v, &largest].map(|numbers| numbers.inside().to_vec());
        for t in 1..=3 {
            let rule = adam_at(t, 0.01);
            for (i, &g) in g.inside().iter().enumerate() {
                let memory = amsgrad.then_some(largest_twin[i]);
                let (p, m, v, used) = adam_twin(rule, p_twin[i], g, m_twin[i], v_twin[i], memory);
                (p_twin[i], m_twin[i], v_twin[i]) = (p, m, v);
                if amsgrad {
                    largest_twin[i] = used;
                }
            }
            let largest = if amsgrad { largest.inside_mut() } else { &mut [] };
            adam(isa, team, rule, p.inside_mut(), g.inside(), m.inside_mut(), v.inside_mut(), largest);
        }
        p.assert_is(&p_twin, &format!("p of {what}"));
        m.assert_is(&m_twin, &format!("m of {what}"));
        v.assert_is(&v_twin, &format!("v of {what}"));
        largest.assert_is(&largest_twin, &format!("largest of {what}"));
        g.assert_is(Numbers::new(n, 2).inside(), &format!("g of {what}"));
    }
}

/// The sums over p as the kernel forms them: parts, in each 32 vectors whose lanes are summed in the type; these sums, from
/// halves added to halves, in `f64`.
fn sums_of<T: Real>(p: &[T]) -> PenaltySums {
    let size = (8 * 1024).max(p.len().div_ceil(16).next_multiple_of(T::LANES));
    let sum = |join: fn(T, T) -> T, of: fn(f64) -> f64| {
        let together = |numbers: &[T]| {
            let mut lanes = vec![T::ZERO; T::LANES];
            for (i, &x) in numbers.iter().enumerate() {
                lanes[i % T::LANES] = join(x, lanes[i % T::LANES]);
            }
            let mut lanes: Vec<f64> = lanes.into_iter().map(T::to_f64).collect();
            while lanes.len() > 1 {
                let upper = lanes.split_off(lanes.len() / 2);
                lanes.iter_mut().zip(upper).for_each(|(sum, x)| *sum += x);
            }
            // Squares may be too large for the type.
            if lanes[0].is_finite() { lanes[0] } else { numbers.iter().map(|x| of(x.to_f64())).sum() }
        };
        p.chunks(size).fold(0.0, |total, part| total + part.chunks(32 * T::LANES).map(together).sum::<f64>())
    };
    let magnitudes = sum(|x, sum| add(if x < T::ZERO { neg(x) } else { x }, sum), f64::abs);
    PenaltySums { magnitudes, squares: sum(|x, sum| fma(x, x, sum), |x| x * x) }
}

fn check_penalty<T: Real>(isa: Isa, team: &Team, n: usize) {
    for (l1, l2) in [(0.0, 0.01), (0.02, 0.0), (0.02, 0.01)] {
        let what = format!("penalty {l1} {l2} {} {isa:?} n {n}", T::NAME);
        let (p, mut g) = (Numbers::<T>::new(n, 1), Numbers::<T>::new(n, 2));
        let twin = |p: T, g: T| {
            let sign = if p == T::ZERO { 0.0 } else { l1 * p.to_f64().signum() };
            fma(T::from_f64(2.0 * l2), p, add(g, T::from_f64(sign)))
        };
        let expected: Vec<T> = p.inside().iter().zip(g.inside()).map(|(&p, &g)| twin(p, g)).collect();
        let found = add_penalty_gradient(isa, team, l1, l2, p.inside(), g.inside_mut());
        assert_eq!(found, (sums_of(p.inside()), true), "{what}");
        assert_eq!(penalty_sums(isa, team, p.inside()), found.0, "{what}");
        g.assert_is(&expected, &what);
        p.assert_is(Numbers::new(n, 1).inside(), &what);
    }
}

#[test]
fn steps_have_the_bits_of_their_twins_at_every_length_on_every_set() {
    for isa in Isa::available() {
        for n in 0..=70 {
            check_sgd::<f32>(isa, &Team::solo(), n);
            check_sgd::<f64>(isa, &Team::solo(), n);
            check_adam::<f32>(isa, &Team::solo(), n);
            check_adam::<f64>(isa, &Team::solo(), n);
            check_penalty::<f32>(isa, &Team::solo(), n);
            check_penalty::<f64>(isa, &Team::solo(), n);
        }
    }
}

#[test]
fn steps_have_the_bits_of_their_twins_for_any_team() {
    let _alone = pool();
    for threads in 1..=3 {
        let team = Team::exactly(threads);
        assert_eq!(team.threads(), threads, "the team that was asked for");
        for isa in Isa::available() {
            for n in [70, 5000, 8192, 8193, 20_000] {
                check_sgd::<f32>(isa, &team, n);
                check_sgd::<f64>(isa, &team, n);
                check_adam::<f32>(isa, &team, n);
                check_adam::<f64>(isa, &team, n);
            }
            for n in [8192, 8193, 140_001] {
                check_penalty::<f32>(isa, &team, n);
                check_penalty::<f64>(isa, &team, n);
            }
        }
    }
}

#[test]
fn penalties_of_numbers_whose_squares_float32_has_no_room_for_are_exact() {
    for isa in Isa::available() {
        let mut p = vec![1.0f32; 2000];
        p[700] = -1e25;
        let sums = penalty_sums(isa, &Team::solo(), &p);
        let large = f64::from(1e25f32);
        assert_eq!(sums.magnitudes, 1999.0 + large, "{isa:?}");
        assert!((sums.squares / (large * large) - 1.0).abs() < 1e-15, "{isa:?}");
        p[700] = f32::NAN;
        assert!(penalty_sums(isa, &Team::solo(), &p).squares.is_nan(), "{isa:?}");
    }
}

/// What a sum in `f64` would be, but for some roundings.
#[test]
fn sums_of_penalties_are_as_exact_as_a_loss() {
    for isa in Isa::available() {
        let p = Numbers::<f32>::new(100_000, 1);
        let sums = penalty_sums(isa, &Team::solo(), p.inside());
        let exactly = |of: fn(f64) -> f64| p.inside().iter().map(|&x| of(f64::from(x))).sum::<f64>();
        let (magnitudes, squares) = (exactly(f64::abs), exactly(|x| x * x));
        assert!((sums.magnitudes / magnitudes - 1.0).abs() < 1e-7, "{isa:?}: {} is {magnitudes}", sums.magnitudes);
        assert!((sums.squares / squares - 1.0).abs() < 1e-7, "{isa:?}: {} is {squares}", sums.squares);
    }
}

#[test]
fn steps_worked_by_hand_come_out_as_worked() {
    for isa in Isa::available() {
        let team = Team::solo();
        // Numbers exact in binary, p = 1, g = 2, v = 4, rate 1/4, momentum 1/2.
        for (rule, p_after, v_after) in [
            (Sgd::Plain, 0.5, 4.0),
            (Sgd::Momentum(0.5), 2.5, 1.5),
            (Sgd::Nesterov(0.5), 1.25, 1.5),
            (Sgd::Dampened(0.5), 0.25, 3.0),
        ] {
            let (mut p, mut v) = ([1.0f32], [4.0f32]);
            sgd(isa, &team, rule, 0.25, &mut p, &[2.0], &mut v);
            assert_eq!((p[0], v[0]), (p_after, v_after), "{rule:?} {isa:?}");
        }
        // p = 1, g = 2: m = 3/4 + 2/4, v = 16/4 + 3
        let rule = Adam { beta_1: 0.75, beta_2: 0.25, size: 8.0, scale: 0.5, epsilon: 0.5 };
        let (mut p, mut m, mut v, mut largest) = ([1.0f64], [1.0f64], [16.0f64], [16.0f64]);
        adam(isa, &team, rule, &mut p, &[2.0], &mut m, &mut v, &mut largest);
        // 8 (5/4) / (sqrt(16) / 2 + 1/2)
        assert_eq!((p[0], m[0], v[0], largest[0]), (-3.0, 1.25, 7.0, 16.0), "{isa:?}");
        let (mut p, mut m, mut v) = ([1.0f64], [1.0f64], [52.0f64]);
        adam(isa, &team, rule, &mut p, &[2.0], &mut m, &mut v, &mut []);
        // 13 + 3 = 16, so the same root
        assert_eq!((p[0], m[0], v[0]), (-3.0, 1.25, 16.0), "{isa:?}");
        // |p| has no slope at 0, and -0 is 0.
        let mut g = [1.0f32, 1.0, 1.0, 1.0];
        let (sums, finite) = add_penalty_gradient(isa, &team, 0.5, 0.25, &[0.0, -0.0, 2.0, -2.0], &mut g);
        assert_eq!((g, finite), ([1.0, 1.0, 2.5, -0.5], true), "{isa:?}");
        assert_eq!(sums, PenaltySums { magnitudes: 4.0, squares: 8.0 }, "{isa:?}");
        // The square of 1e20 is no float32, and the sums are in float64.
        let (sums, finite) = add_penalty_gradient(isa, &team, 0.0, 0.5, &[1e20f32], &mut [0.0]);
        assert!(!finite && (sums.squares / 1e40 - 1.0).abs() < 1e-6, "{isa:?}");
        assert!(penalty_sums(isa, &team, &[1.0f32, f32::NAN]).squares.is_nan(), "{isa:?}");
    }
}

#[test]
fn the_first_step_of_adam_is_the_rate_against_the_sign_of_the_gradient() {
    for isa in Isa::available() {
        let g = [1e-3f64, -1e-3, 1.0, -1.0, 1e6, -1e6];
        let (mut p, mut m, mut v) = ([0.0f64; 6], [0.0; 6], [0.0; 6]);
        adam(isa, &Team::solo(), adam_at(1, 0.01), &mut p, &g, &mut m, &mut v, &mut []);
        for (p, g) in p.iter().zip(g) {
            // epsilon is 1e-5 of the smallest gradient.
            assert!((p + 0.01 * g.signum()).abs() < 2e-7, "{p} for {g} on {isa:?}");
        }
    }
}

#[test]
fn a_velocity_below_the_limit_is_forgotten_and_one_above_stays() {
    fn check<T: Real>(isa: Isa) {
        let limit = forgotten::<T>();
        let team = Team::solo();
        // A gradient of 0 and a momentum of 1/2: the velocity is halved.
        for rule in [Sgd::Momentum(0.5), Sgd::Nesterov(0.5), Sgd::Dampened(0.5)] {
            for (before, stays) in [(2.5, true), (1.5, false), (-2.5, true), (-1.5, false)] {
                let mut v = vec![T::from_f64(before * limit); 37];
                let (mut p, g) = (vec![T::ZERO; 37], vec![T::ZERO; 37]);
                sgd(isa, &team, rule, 0.1, &mut p, &g, &mut v);
                let expected = if stays { T::from_f64(v[0].to_f64()) } else { T::ZERO };
                let what = format!("{rule:?} {} {isa:?} {before}", T::NAME);
                assert!(v.iter().all(|&v| v == expected && (v != T::ZERO) == stays), "{what}: {v:?}");
            }
        }
    }
    for isa in Isa::available() {
        check::<f32>(isa);
        check::<f64>(isa);
    }
}

#[test]
fn moments_below_the_limit_are_forgotten_and_those_above_stay() {
    fn check<T: Real>(isa: Isa) {
        let limit = forgotten::<T>();
        let rule = Adam { beta_1: 0.5, beta_2: 0.5, size: 0.1, scale: 1.0, epsilon: 1e-8 };
        for (before, stays) in [(2.5, true), (1.5, false)] {
            let moment = vec![T::from_f64(before * limit); 37];
            let (mut m, mut v, mut p, g) = (moment.clone(), moment, vec![T::ONE; 37], vec![T::ZERO; 37]);
            adam(isa, &Team::solo(), rule, &mut p, &g, &mut m, &mut v, &mut []);
            let what = format!("{} {isa:?} {before}", T::NAME);
            assert!(m.iter().chain(&v).all(|&x| (x != T::ZERO) == stays), "{what}: {m:?} {v:?}");
            assert!(p.iter().all(|&p| p == T::ONE), "{what}: a step this small moves nothing");
        }
        // The square of such a gradient would be no normal number.
        let g = vec![T::from_f64(limit.sqrt() * 1e-6); 37];
        let (mut m, mut v, mut p) = (vec![T::ZERO; 37], vec![T::ZERO; 37], vec![T::ONE; 37]);
        adam(isa, &Team::solo(), rule, &mut p, &g, &mut m, &mut v, &mut []);
        assert!(m.iter().all(|&m| m != T::ZERO) && v.iter().all(|&v| v == T::ZERO), "{} {isa:?}", T::NAME);
    }
    for isa in Isa::available() {
        check::<f32>(isa);
        check::<f64>(isa);
    }
}

#[test]
fn a_long_run_of_zero_gradients_leaves_no_subnormal_on_its_way_to_zero() {
    fn check<T: Real>(isa: Isa) {
        const N: usize = 17;
        let team = Team::solo();
        let fine = |x: &[T]| x.iter().all(|x| x.to_f64() == 0.0 || x.to_f64().abs() >= smallest_normal::<T>());
        let start: Vec<T> = (0..N).map(|i| T::from_f64(10f64.powi(i as i32 - 8))).collect();
        let zeros = vec![T::ZERO; N];
        for rule in [Sgd::Momentum(0.9), Sgd::Nesterov(0.9), Sgd::Dampened(0.9)] {
            let (mut p, mut v) = (zeros.clone(), start.clone());
            for _ in 0..8000 {
                sgd(isa, &team, rule, 0.1, &mut p, &zeros, &mut v);
                assert!(fine(&v), "{rule:?} {} {isa:?}: {v:?}", T::NAME);
            }
            assert_eq!(v, zeros, "{rule:?} {} {isa:?}", T::NAME);
        }
        // beta_2 nearer to 0 than usual: 0.999 takes 700 000 steps to 1e-290.
        let rule = Adam { beta_2: 0.95, ..adam_at(1000, 0.01) };
        let (mut p, mut m, mut v, mut largest) = (zeros.clone(), start.clone(), start.clone(), zeros.clone());
        for _ in 0..14_000 {
            adam(isa, &team, rule, &mut p, &zeros, &mut m, &mut v, &mut largest);
            assert!(fine(&m) && fine(&v), "adam {} {isa:?}: {m:?} {v:?}", T::NAME);
        }
        assert_eq!((&m, &v), (&zeros, &zeros), "{} {isa:?}", T::NAME);
        assert!(p.iter().chain(&largest).all(|x| x.is_finite()) && largest.iter().all(|&x| x > T::ZERO));
    }
    for isa in Isa::available() {
        check::<f32>(isa);
        check::<f64>(isa);
    }
}

#[test]
fn a_nan_in_the_gradient_is_not_forgotten() {
    for isa in Isa::available() {
        for rule in RULES {
            let (mut p, mut v) = ([1.0f32; 5], [0.0f32; 5]);
            sgd(isa, &Team::solo(), rule, 0.1, &mut p, &[0.0, f32::NAN, 0.0, 0.0, 0.0], &mut v);
            assert_eq!(p.map(f32::is_nan), [false, true, false, false, false], "{rule:?} {isa:?}");
        }
        let (mut p, mut m, mut v) = ([1.0f32; 3], [0.0f32; 3], [0.0f32; 3]);
        let g = [0.0, f32::NAN, 0.0];
        adam(isa, &Team::solo(), adam_at(1, 0.1), &mut p, &g, &mut m, &mut v, &mut []);
        assert_eq!([p, m, v].map(|x| x.map(f32::is_nan)), [[false, true, false]; 3], "{isa:?}");
    }
}

#[test]
fn lengths_that_differ_panic() {
    let panics = |what: &str, call: &mut dyn FnMut()| {
        assert!(catch_unwind(AssertUnwindSafe(call)).is_err(), "{what}: no panic");
    };
    let (isa, team) = (Isa::available()[0], Team::solo());
    let (mut three, mut more, mut other) = ([0.0f32; 3], [0.0f32; 3], [0.0f32; 3]);
    panics("gradient", &mut || sgd(isa, &team, Sgd::Plain, 0.1, &mut three, &[0.0; 4], &mut []));
    for n in [0, 2, 4] {
        let mut v = vec![0.0; n];
        for rule in &RULES[1..] {
            panics("velocity", &mut || sgd(isa, &team, *rule, 0.1, &mut three, &[0.0; 3], &mut v));
        }
        let (g, rule) = (vec![0.0; n], adam_at(1, 0.1));
        panics("g", &mut || adam(isa, &team, rule, &mut three, &g, &mut more, &mut other, &mut []));
        panics("m", &mut || adam(isa, &team, rule, &mut three, &[0.0; 3], &mut v, &mut other, &mut []));
        panics("v", &mut || adam(isa, &team, rule, &mut three, &[0.0; 3], &mut other, &mut v, &mut []));
        panics("penalty", &mut || _ = add_penalty_gradient(isa, &Team::solo(), 0.1, 0.1, &g, &mut three));
    }
    for n in [2, 4] {
        let (mut largest, rule) = (vec![0.0; n], adam_at(1, 0.1));
        panics("largest", &mut || {
            adam(isa, &team, rule, &mut three, &[0.0; 3], &mut more, &mut other, &mut largest);
        });
    }
}
