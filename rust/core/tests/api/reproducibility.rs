//! Same seed, same bits: for any number of threads and on every instruction set.

use crate::network::{Random, Task, Watcher, adam, bits, fit_spec, layer, loss, pool, sgd, spec, with};
use dnn_core::{Isa, Model, OptimizerSpec, Precision, Real, fit, gradients};
use serde_json::Value;

/// A network, its data and how it is trained, drawn at random.
#[derive(Debug)]
struct Draw {
    n_in: usize,
    layers: Vec<Value>,
    n_out: usize,
    loss: &'static str,
    optimizer: OptimizerSpec,
    rows: usize,
    batch_size: usize,
    weighted: bool,
}

impl Draw {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let hidden = ["relu", "tanh", "sigmoid", "gelu", "gelu_tanh", "silu", "elu", "selu", "softplus", "leaky_relu"];
        // Every third is large enough for its products to be shared out.
        let width = if seed.is_multiple_of(3) { (120, 200) } else { (1, 60) };
        let mut layers: Vec<Value> = (0..random.between(0, 3))
            .map(|_| {
                let layer = layer(random.between(width.0, width.1), random.pick(&hidden));
                let layer = with(layer, "use_bias", random.unit() < 0.8);
                with(layer, "l2", if random.unit() < 0.3 { 1e-3 } else { 0.0 })
            })
            .collect();
        let (loss, output) = random.pick(&[
            ("mse", "identity"),
            ("mae", "tanh"),
            ("huber", "softsign"),
            ("cross_entropy", "softmax"),
            ("mse", "softmax"),
            ("binary_cross_entropy", "sigmoid"),
            ("squared_hinge", "identity"),
        ]);
        let n_out = random.between(2, 20);
        layers.push(layer(n_out, output));
        let rows = random.between(20, 300);
        Draw {
            n_in: random.between(1, width.1),
            layers,
            n_out,
            loss,
            optimizer: random.pick(&[sgd(0.0), sgd(0.9), adam(false), adam(true)]),
            rows,
            batch_size: random.between(7, rows),
            weighted: random.unit() < 0.3,
        }
    }

    /// Everything that comes out of two epochs: parameters and losses, as bits.
    fn trained<T: Real>(&self, isa: Isa, threads: usize) -> Vec<u64> {
        self.trained_with::<T>(Precision::Strict, isa, threads)
    }

    fn trained_with<T: Real>(&self, precision: Precision, isa: Isa, threads: usize) -> Vec<u64> {
        let mut spec = spec::<T>(self.layers.clone());
        spec.isa = Some(isa.name().to_owned());
        spec.precision = precision;
        let mut model = Model::<T>::new(spec, self.n_in).expect("a network that fits");
        model.compile(loss(self.loss), self.optimizer).expect("a loss that fits");
        let mut task = Task::<T>::for_loss(self.loss, self.rows, self.n_in, self.n_out);
        task.weights = self.weighted.then(|| (0..self.rows).map(|i| 0.25 + (i % 5) as f64).collect());
        let data = task.data(&model.plan);
        let mut how = fit_spec(self.batch_size, 2, 0.01);
        how.n_threads = threads;
        let history = fit(&mut model, &data, Some(&data), &how, &mut Watcher::new()).expect("it trains");
        let mut found = bits(&model.params);
        for epoch in history.epochs.iter() {
            found.extend([epoch.loss, epoch.grad_norm, epoch.val_loss.expect("validation")].map(f64::to_bits));
        }
        found
    }
}

#[test]
fn the_same_seed_gives_the_same_bits_for_any_number_of_threads() {
    let _alone = pool();
    let isa = Isa::available()[0];
    for seed in 0..24 {
        let draw = Draw::new(seed);
        let (one, one_wide) = (draw.trained::<f32>(isa, 1), draw.trained::<f64>(isa, 1));
        for threads in 2..=4 {
            assert!(draw.trained::<f32>(isa, threads) == one, "float32, {threads} threads: {draw:?}");
            assert!(draw.trained::<f64>(isa, threads) == one_wide, "float64, {threads} threads: {draw:?}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_bits_on_every_set() {
    for seed in 100..116 {
        let draw = Draw::new(seed);
        let (scalar, scalar_wide) = (draw.trained::<f32>(Isa::SCALAR, 1), draw.trained::<f64>(Isa::SCALAR, 1));
        for isa in Isa::available() {
            assert!(draw.trained::<f32>(isa, 1) == scalar, "float32 on {isa:?}: {draw:?}");
            assert!(draw.trained::<f64>(isa, 1) == scalar_wide, "float64 on {isa:?}: {draw:?}");
        }
    }
}

#[test]
fn factors_in_bfloat16_give_the_same_bits_for_any_number_of_threads_and_as_in_their_twin() {
    let _alone = pool();
    let (mut rounded, mut split) = (0, 0);
    for isa in Isa::available().into_iter().chain([Isa::SCALAR_AMX]) {
        let twin = if isa.with_split().parts() == 2 { Isa::SCALAR_AMX } else { Isa::SCALAR };
        for seed in 200..212 {
            let draw = Draw::new(seed);
            let exact = draw.trained::<f32>(isa, 1);
            for precision in [Precision::Medium, Precision::High] {
                let one = draw.trained_with::<f32>(precision, isa, 1);
                let (set, count) = match precision {
                    Precision::Medium => (isa.with_bf16(), &mut rounded),
                    _ => (isa.with_split(), &mut split),
                };
                if set.has_bf16() {
                    *count += usize::from(one != exact);
                    let twin = draw.trained_with::<f32>(precision, twin, 1);
                    assert!(one == twin, "{isa:?} and its twin, {precision:?}: {draw:?}");
                } else {
                    assert!(one == exact, "{isa:?} has none, {precision:?}: {draw:?}");
                }
                for threads in 2..=4 {
                    let more = draw.trained_with::<f32>(precision, isa, threads);
                    assert!(more == one, "{threads} threads, {isa:?}, {precision:?}: {draw:?}");
                }
            }
            let wide = draw.trained_with::<f64>(Precision::Medium, isa, 1);
            assert!(wide == draw.trained::<f64>(isa, 1), "float64, {isa:?}: {draw:?}");
        }
    }
    assert!(rounded > 0 && split > 0, "some of the networks are large enough for it");
}

/// Where factors are rounded, and where not: what is learned, not what is predicted or measured.
#[test]
fn only_training_rounds_to_bfloat16() {
    let trained = |precision: Precision, optimizer: OptimizerSpec| {
        let mut spec = spec::<f32>(vec![layer(80, "relu"), layer(70, "tanh"), layer(3, "identity")]);
        (spec.precision, spec.isa) = (precision, Some("scalar".to_owned()));
        let mut model = Model::<f32>::new(spec, 40).expect("a network that fits");
        model.compile(loss("mse"), optimizer).expect("a loss that fits");
        let task = Task::<f32>::regression(64, 40, 3);
        let data = task.data(&model.plan);
        let before = gradients(&model, &data, false, 1).expect("finite").loss;
        let mut how = fit_spec(64, 1, 0.01);
        how.n_threads = 1;
        let history = fit(&mut model, &data, Some(&data), &how, &mut Watcher::new()).expect("it trains");
        let after = gradients(&model, &data, false, 1).expect("finite").loss;
        let epoch = history.epochs.at(0);
        (history.arithmetic, [before, epoch.loss, after, epoch.val_loss.expect("validation")])
    };
    let (exactly, [before, first, after, validation]) = trained(Precision::Highest, sgd(0.0));
    assert_eq!((exactly.as_str(), first, validation), ("scalar float32", before, after));
    let (rounded, [same, first, after, validation]) = trained(Precision::Medium, sgd(0.0));
    assert_eq!((rounded.as_str(), same, validation), ("scalar bfloat16", before, after));
    assert!(first != before && (first - before).abs() < 1e-2 * before, "{first} is {before}, roughly");
}

#[test]
fn another_seed_gives_other_weights() {
    let train = |seed: u64| {
        let mut spec = spec::<f32>(vec![layer(4, "tanh"), layer(1, "identity")]);
        spec.seed = seed;
        bits(&Model::<f32>::new(spec, 2).expect("a network that fits").params)
    };
    assert!(train(1) == train(1) && train(1) != train(2));
}

/// Gradients of all rows, once at once and once as the sum of small batches; relative distance.
fn distance_to_small_batches<T: Real>(rows: usize, threads: usize) -> (Vec<u64>, f64) {
    let layers = vec![layer(40, "tanh"), layer(30, "gelu"), layer(3, "identity")];
    let model = crate::network::model::<T>(6, layers, "mse", sgd(0.0));
    let whole = Task::<T>::regression(rows, 6, 3);
    let all = gradients(&model, &whole.data(&model.plan), false, threads).expect("finite");
    let (mut loss, mut sums) = (0.0, vec![]);
    for start in (0..rows).step_by(100) {
        let size = 100.min(rows - start);
        let mut part = Task::<T>::regression(size, 6, 3);
        part.x = crate::network::table(size, 6, |i, j| whole.x.row(start + i)[j].to_f64());
        part.y = crate::network::table(size, 3, |i, j| whole.y.row(start + i)[j].to_f64());
        let of_part = gradients(&model, &part.data(&model.plan), false, 1).expect("finite");
        let share = size as f64 / rows as f64;
        loss += share * of_part.loss;
        let numbers = of_part.gradients.iter().flat_map(|array| array.iter().map(|x| share * x.to_f64()));
        if sums.is_empty() {
            sums = numbers.collect();
        } else {
            sums.iter_mut().zip(numbers).for_each(|(sum, x)| *sum += x);
        }
    }
    let flat: Vec<T> = all.gradients.iter().flat_map(|array| array.iter().copied()).collect();
    let largest = sums.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
    let apart = flat.iter().zip(&sums).map(|(a, b)| (a.to_f64() - b).abs() / largest).fold(0.0, f64::max);
    let mut found = bits(&flat);
    found.push(all.loss.to_bits());
    (found, apart.max((all.loss - loss).abs() / loss))
}

#[test]
fn a_batch_of_more_than_512_rows_is_the_sum_of_small_ones_for_any_number_of_threads() {
    let _alone = pool();
    for rows in [511, 512, 513, 1024, 1300] {
        // The order of some 1300 sums differs: a hundred roundings of 2^-24, or 2^-53, of the largest.
        let (one, apart) = distance_to_small_batches::<f32>(rows, 1);
        assert!(apart < 1e-5, "{rows} rows, float32: {apart:e} apart");
        let (one_wide, apart) = distance_to_small_batches::<f64>(rows, 1);
        assert!(apart < 1e-14, "{rows} rows, float64: {apart:e} apart");
        for threads in 2..=4 {
            assert!(distance_to_small_batches::<f32>(rows, threads).0 == one, "{rows} rows, {threads} threads");
            assert!(distance_to_small_batches::<f64>(rows, threads).0 == one_wide, "{rows} rows, {threads} threads");
        }
    }
}

#[test]
fn a_full_batch_of_many_blocks_trains_to_the_same_bits_for_any_number_of_threads() {
    let _alone = pool();
    let train = |threads: usize| {
        let layers = vec![layer(150, "relu"), layer(2, "identity")];
        let mut model = crate::network::model::<f32>(90, layers, "mse", adam(false));
        let task = Task::<f32>::regression(1700, 90, 2);
        let mut how = fit_spec(1700, 3, 0.01);
        how.n_threads = threads;
        let data = task.data(&model.plan);
        let history = fit(&mut model, &data, None, &how, &mut Watcher::new()).expect("it trains");
        (bits(&model.params), history.epochs.last().map(|epoch| epoch.loss.to_bits()))
    };
    let one = train(1);
    for threads in 2..=4 {
        assert!(train(threads) == one, "{threads} threads");
    }
}
