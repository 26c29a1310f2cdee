//! The steps of the optimizers beside SGD and Adam against twins in plain arithmetic: the same bits everywhere.

use crate::numbers::plain::{add, div, flushed, fma, mul, neg, sqrt};
use crate::numbers::{Numbers, forgotten, pool};
use dnn_kernels::{
    Adadelta, Adagrad, Adam, AdamW, Adamax, Isa, LambDirection, Lion, Nadam, RAdam, Real, RmsProp, Rprop, Rule, Team,
    step,
};
use std::panic::{AssertUnwindSafe, catch_unwind};

const ADAM: Adam = Adam { beta_1: 0.9, beta_2: 0.98, size: 0.02, scale: 1.3, epsilon: 1e-6 };

fn rms(momentum: f64, centered: bool, epsilon_inside: bool) -> Rule {
    Rule::RmsProp(RmsProp { rho: 0.9, momentum, rate: 0.01, epsilon: 1e-6, centered, epsilon_inside })
}

fn rules() -> Vec<Rule> {
    let mut rules = vec![
        Rule::AdamW(AdamW { adam: ADAM, keep: 0.99, amsgrad: false }),
        Rule::AdamW(AdamW { adam: ADAM, keep: 1.0, amsgrad: true }),
        Rule::Adagrad(Adagrad { rate: 0.01, epsilon: 1e-8 }),
        Rule::Adadelta(Adadelta { rho: 0.9, rate: 1.0, epsilon: 1e-6 }),
        Rule::Adamax(Adamax { beta_1: 0.9, beta_2: 0.95, size: 0.02, epsilon: 1e-8 }),
        Rule::Nadam(Nadam { beta_1: 0.9, beta_2: 0.98, of_gradient: 0.003, of_mean: 0.02, scale: 1.2, epsilon: 1e-8 }),
        Rule::Lion(Lion { beta_1: 0.9, beta_2: 0.99, rate: 0.01, keep: 0.999 }),
        Rule::RAdam(RAdam { adam: ADAM, divides: true }),
        Rule::RAdam(RAdam { adam: ADAM, divides: false }),
        Rule::Rprop(Rprop { shrink: 0.5, grow: 1.2, smallest: 1e-6, largest: 0.5 }),
        Rule::LambDirection(LambDirection { adam: ADAM, decay: 0.01 }),
    ];
    for momentum in [0.0, 0.8] {
        for (centered, inside) in [(false, false), (false, true), (true, false), (true, true)] {
            rules.push(rms(momentum, centered, inside));
        }
    }
    rules
}

/// Which memories a rule has, and which of those are never below 0.
fn memories(rule: Rule) -> [Option<bool>; 3] {
    match rule {
        Rule::AdamW(rule) => [Some(false), Some(true), rule.amsgrad.then_some(true)],
        Rule::RmsProp(rule) => [Some(true), (rule.momentum > 0.0).then_some(false), rule.centered.then_some(false)],
        Rule::Adagrad(_) => [Some(true), None, None],
        Rule::Adadelta(_) => [Some(true), Some(true), None],
        Rule::Adamax(_) | Rule::Nadam(_) | Rule::RAdam(_) | Rule::Rprop(_) => [Some(false), Some(true), None],
        Rule::Lion(_) => [Some(false), None, None],
        Rule::LambDirection(_) => [Some(false), Some(true), Some(false)],
    }
}

fn num<T: Real>(x: f64) -> T {
    T::from_f64(x)
}

fn mean<T: Real>(decay: f64, of: T, x: T) -> T {
    flushed(fma(num(decay), of, mul(num(1.0 - decay), x)), forgotten::<T>())
}

fn mean_square<T: Real>(decay: f64, of: T, x: T) -> T {
    let x = flushed(x, forgotten::<T>().sqrt());
    mean(decay, of, mul(x, x))
}

fn sign<T: Real>(x: T) -> T {
    if x == T::ZERO { T::ZERO } else { num(x.to_f64().signum()) }
}

fn larger<T: Real>(a: T, b: T) -> T {
    if a > b { a } else { b }
}

/// `size m / (sqrt(v) scale + epsilon)`
fn adam<T: Real>(rule: Adam, m: T, v: T) -> T {
    div(mul(num(rule.size), m), fma(sqrt(v), num(rule.scale), num(rule.epsilon)))
}

fn sub<T: Real>(a: T, b: T) -> T {
    add(a, neg(b))
}

/// One element, one step: p and the memories afterwards.
fn twin<T: Real>(rule: Rule, p: T, g: T, [a, b, c]: [T; 3]) -> (T, [T; 3]) {
    match rule {
        Rule::AdamW(AdamW { adam: rule, keep, amsgrad }) => {
            let (m, v) = (mean(rule.beta_1, a, g), mean_square(rule.beta_2, b, g));
            let largest = larger(v, c);
            let step = adam(rule, m, if amsgrad { largest } else { v });
            (sub(mul(p, num(keep)), step), [m, v, if amsgrad { largest } else { c }])
        }
        Rule::RmsProp(rule) => {
            let (v, center) = (mean_square(rule.rho, a, g), mean(rule.rho, c, g));
            let variance = if rule.centered { larger(T::ZERO, fma(neg(center), center, v)) } else { v };
            let root = if rule.epsilon_inside {
                sqrt(add(variance, num(rule.epsilon)))
            } else {
                add(sqrt(variance), num(rule.epsilon))
            };
            let plain = div(g, root);
            let with = flushed(fma(num(rule.momentum), b, plain), forgotten::<T>());
            let (step, velocity) = if rule.momentum > 0.0 { (with, with) } else { (plain, b) };
            (fma(num(-rule.rate), step, p), [v, velocity, if rule.centered { center } else { c }])
        }
        Rule::Adagrad(rule) => {
            let x = flushed(g, forgotten::<T>().sqrt());
            let v = fma(x, x, a);
            (sub(p, div(mul(num(rule.rate), g), add(sqrt(v), num(rule.epsilon)))), [v, b, c])
        }
        Rule::Adadelta(rule) => {
            let v = mean_square(rule.rho, a, g);
            let root = |x: T| sqrt(add(x, num(rule.epsilon)));
            let step = mul(div(root(b), root(v)), g);
            (fma(num(-rule.rate), step, p), [v, mean_square(rule.rho, b, step), c])
        }
        Rule::Adamax(rule) => {
            let m = mean(rule.beta_1, a, g);
            let magnitude = add(num(g.to_f64().abs()), num(rule.epsilon));
            let u = larger(mul(num(rule.beta_2), b), magnitude);
            (sub(p, div(mul(num(rule.size), m), u)), [m, u, c])
        }
        Rule::Nadam(rule) => {
            let (m, v) = (mean(rule.beta_1, a, g), mean_square(rule.beta_2, b, g));
            let above = fma(num(rule.of_mean), m, mul(num(rule.of_gradient), g));
            (sub(p, div(above, fma(sqrt(v), num(rule.scale), num(rule.epsilon)))), [m, v, c])
        }
        Rule::Lion(rule) => {
            let direction = sign(fma(num(rule.beta_1), a, mul(num(1.0 - rule.beta_1), g)));
            (fma(num(-rule.rate), direction, mul(p, num(rule.keep))), [mean(rule.beta_2, a, g), b, c])
        }
        Rule::RAdam(RAdam { adam: rule, divides }) => {
            let (m, v) = (mean(rule.beta_1, a, g), mean_square(rule.beta_2, b, g));
            let p = if divides { sub(p, adam(rule, m, v)) } else { fma(num(-rule.size), m, p) };
            (p, [m, v, c])
        }
        Rule::Rprop(rule) => {
            let turned = sign(a).to_f64() * sign(g).to_f64();
            let factor = if turned > 0.0 {
                rule.grow
            } else if turned < 0.0 {
                rule.shrink
            } else {
                1.0
            };
            let size = mul(b, num(factor)).to_f64().max(num::<T>(rule.smallest).to_f64());
            let size: T = num(size.min(num::<T>(rule.largest).to_f64()));
            let g = if turned < 0.0 { T::ZERO } else { g };
            (fma(neg(size), sign(g), p), [g, size, c])
        }
        Rule::LambDirection(LambDirection { adam: rule, decay }) => {
            let (m, v) = (mean(rule.beta_1, a, g), mean_square(rule.beta_2, b, g));
            (fma(num(decay), c, adam(rule, m, v)), [m, v, c])
        }
    }
}

fn check<T: Real>(isa: Isa, team: &Team, rule: Rule, n: usize) {
    let what = format!("{rule:?} {} {isa:?} n {n} threads {}", T::NAME, team.threads());
    let there = memories(rule);
    let memory = |k: usize| {
        let numbers = Numbers::<T>::new(n, 3 + k as u64);
        if there[k] == Some(true) { numbers.magnitudes() } else { numbers }
    };
    let (mut p, mut own) = (Numbers::<T>::new(n, 1), [memory(0), memory(1), memory(2)]);
    let mut p_twin = p.inside().to_vec();
    let mut twins: Vec<[T; 3]> = (0..n).map(|i| [0, 1, 2].map(|k| own[k].inside()[i])).collect();
    for round in 0..3 {
        // Another gradient each time, so that signs turn.
        let g = Numbers::<T>::new(n, 20 + round);
        for (i, &g) in g.inside().iter().enumerate() {
            let memory = [0, 1, 2].map(|k| if there[k].is_some() { twins[i][k] } else { T::ZERO });
            let (after, after_memory) = twin(rule, p_twin[i], g, memory);
            p_twin[i] = after;
            for k in (0..3).filter(|&k| there[k].is_some()) {
                twins[i][k] = after_memory[k];
            }
        }
        let mut slices = own.each_mut().map(Numbers::inside_mut);
        for (slice, there) in slices.iter_mut().zip(there) {
            if there.is_none() {
                *slice = &mut [];
            }
        }
        step(isa, team, rule, p.inside_mut(), g.inside(), slices);
        g.assert_is(Numbers::new(n, 20 + round).inside(), &format!("g of {what}"));
    }
    p.assert_is(&p_twin, &format!("p of {what}"));
    for (k, own) in own.iter().enumerate() {
        let twin: Vec<T> = twins.iter().map(|twin| twin[k]).collect();
        own.assert_is(&twin, &format!("memory {k} of {what}"));
    }
}

#[test]
fn rules_have_the_bits_of_their_twins_at_every_length_on_every_set() {
    for isa in Isa::available() {
        for rule in rules() {
            for n in 0..=35 {
                check::<f32>(isa, &Team::solo(), rule, n);
                check::<f64>(isa, &Team::solo(), rule, n);
            }
        }
    }
}

#[test]
fn rules_have_the_bits_of_their_twins_for_any_team() {
    let _alone = pool();
    for threads in 1..=3 {
        let team = Team::exactly(threads);
        for rule in rules() {
            check::<f32>(Isa::available()[0], &team, rule, 70_000);
            check::<f64>(Isa::available()[0], &team, rule, 33_001);
        }
    }
}

#[test]
fn an_element_without_gradient_and_memory_stays_where_it_is_but_for_decay() {
    // Such elements are the padding of a row: they have to stay 0.
    for isa in Isa::available() {
        for rule in rules() {
            let (mut p, mut own) = ([0.0f32; 5], [[0.0f32; 5]; 3]);
            let there = memories(rule);
            let mut slices = own.each_mut().map(|memory| memory.as_mut_slice());
            for (slice, there) in slices.iter_mut().zip(there) {
                if there.is_none() {
                    *slice = &mut [];
                }
            }
            step(isa, &Team::solo(), rule, &mut p, &[0.0; 5], slices);
            assert_eq!(p, [0.0; 5], "{rule:?} {isa:?}");
        }
    }
}

#[test]
fn a_nan_in_the_gradient_reaches_the_parameter() {
    for isa in Isa::available() {
        for rule in rules() {
            let (mut p, mut own) = ([1.0f64; 3], [[0.25f64; 3]; 3]);
            let there = memories(rule);
            let mut slices = own.each_mut().map(|memory| memory.as_mut_slice());
            for (slice, there) in slices.iter_mut().zip(there) {
                if there.is_none() {
                    *slice = &mut [];
                }
            }
            step(isa, &Team::solo(), rule, &mut p, &[0.5, f64::NAN, 0.5], slices);
            assert_eq!(p.map(f64::is_nan), [false, true, false], "{rule:?} {isa:?}");
        }
    }
}

#[test]
fn a_memory_too_many_or_too_few_panics() {
    for rule in rules() {
        for (k, there) in memories(rule).into_iter().enumerate() {
            let mut own = [[0.0f32; 4]; 3];
            let mut slices = own.each_mut().map(|memory| memory.as_mut_slice());
            for (j, (slice, there)) in slices.iter_mut().zip(memories(rule)).enumerate() {
                let length = if j == k {
                    if there.is_some() { 3 } else { 1 }
                } else if there.is_some() {
                    4
                } else {
                    0
                };
                *slice = &mut std::mem::take(slice)[..length];
            }
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                step(Isa::available()[0], &Team::solo(), rule, &mut [0.0; 4], &[0.0; 4], slices);
            }));
            assert!(panicked.is_err(), "{rule:?}: memory {k}, {there:?}");
        }
    }
}
