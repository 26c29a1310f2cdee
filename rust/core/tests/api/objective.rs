//! Conventions of other libraries: how loss and penalty are weighed, whose order the rows have, which epochs count.

use crate::network::{Task, Watcher, adam, bits, fit_spec, layer, model, sgd, with};
use dnn_core::{Epoch, Flow, Model, Objective, Observer, State, Stopped, fit};

/// A network with a penalty on the weights of both layers.
fn penalised(l2: f64) -> Model<f64> {
    let layers = vec![with(layer(4, "tanh"), "l2", l2), with(layer(2, "identity"), "l2", l2)];
    model(3, layers, "mse", sgd(0.0))
}

#[test]
fn a_penalty_over_rows_is_that_of_the_batch_divided_by_its_weight() {
    let mut task = Task::<f64>::regression(10, 3, 2);
    // The batches of 4, 4 and 2 rows weigh 6, 4 and 1.
    task.weights = Some(vec![1.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5]);
    let mut model = penalised(0.3);
    let mut how = fit_spec(4, 1, 0.1);
    (how.shuffle, how.objective) = (false, Objective { penalty_over_rows: true, ..Objective::default() });
    let data = task.data(&model.plan);
    fit(&mut model, &data, None, &how, &mut Watcher::new()).expect("it trains");

    // The same three steps, each as a full batch with a penalty of its own.
    let mut params = penalised(0.3).params.to_vec();
    for (rows, weight) in [(0..4, 6.0), (4..8, 4.0), (8..10, 1.0)] {
        let mut part = Task::<f64>::regression(rows.len(), 3, 2);
        part.x = crate::network::table(rows.len(), 3, |i, j| task.x.row(rows.start + i)[j]);
        part.y = crate::network::table(rows.len(), 2, |i, j| task.y.row(rows.start + i)[j]);
        part.weights = task.weights.as_ref().map(|weights| weights[rows.clone()].to_vec());
        let mut step = penalised(0.3 / weight);
        step.params.copy_from_slice(&params);
        let data = part.data(&step.plan);
        fit(&mut step, &data, None, &fit_spec(4, 1, 0.1), &mut Watcher::new()).expect("it trains");
        params = step.params.to_vec();
    }
    for (a, b) in model.params.iter().zip(&params) {
        assert!((a - b).abs() < 1e-15, "{a} {b}");
    }
}

#[test]
fn the_factor_of_the_gradient_moves_the_weights_and_that_of_the_loss_is_told() {
    let task = Task::<f64>::regression(12, 3, 2);
    let run = |rate: f64, gradient_factor: f64, loss_factor: f64| {
        let mut model = model::<f64>(3, vec![layer(4, "tanh"), layer(2, "identity")], "mse", sgd(0.0));
        let mut how = fit_spec(4, 3, rate);
        how.objective = Objective { gradient_factor, loss_factor, ..Objective::default() };
        let data = task.data(&model.plan);
        let history = fit(&mut model, &data, None, &how, &mut Watcher::new()).expect("it trains");
        (bits(&model.params), history.epochs.iter().map(|epoch| epoch.loss).collect::<Vec<_>>())
    };
    // Powers of two change no bit.
    let (plain, losses) = run(0.25, 1.0, 1.0);
    assert_eq!(run(0.125, 2.0, 1.0), (plain.clone(), losses.clone()));
    assert_eq!(run(0.25, 1.0, 4.0), (plain, losses.iter().map(|loss| 4.0 * loss).collect()));
}

#[test]
fn the_mean_by_rows_counts_a_batch_by_its_rows_and_not_by_their_weight() {
    let mut task = Task::<f64>::regression(6, 3, 2);
    task.weights = Some(vec![5.0, 5.0, 5.0, 5.0, 1.0, 1.0]);
    let loss = |task: &Task<f64>, mean_by_rows: bool| {
        // A rate of 0: every step has the loss of the first weights.
        let mut model = model::<f64>(3, vec![layer(2, "identity")], "mse", sgd(0.0));
        let mut how = fit_spec(4, 1, 0.0);
        how.shuffle = false;
        how.objective = Objective { mean_by_rows, ..Objective::default() };
        let data = task.data(&model.plan);
        fit(&mut model, &data, None, &how, &mut Watcher::new()).expect("it trains").epochs.at(0).loss
    };
    let (by_weight, by_rows) = (loss(&task, false), loss(&task, true));
    // a is the mean of the first four rows, b that of the others: (20 a + 2 b) / 22 and (4 a + 2 b) / 6.
    let b = (by_rows * 6.0 - by_weight * 22.0 / 5.0) / (2.0 - 2.0 / 5.0);
    let a = (by_rows * 6.0 - 2.0 * b) / 4.0;
    task.weights = Some(vec![1.0, 1.0, 1.0, 1.0, 0.0, 0.0]);
    assert!((loss(&task, false) - a).abs() < 1e-12 && (a - b).abs() > 1e-3);
}

/// Gives the order of the rows.
struct Order(fn(usize, &mut [u32]));

impl Observer<f64> for Order {
    fn seconds(&mut self) -> f64 {
        0.0
    }
    fn interrupted(&mut self) -> bool {
        false
    }
    fn rates(&mut self, _: u64, _: &mut [f64], _: State<f64>) -> Flow {
        Flow::Go
    }
    fn order(&mut self, epoch: usize, order: &mut [u32], _: State<f64>) -> Flow {
        self.0(epoch, order);
        Flow::Go
    }
    fn epoch_begin(&mut self, _: usize, _: State<f64>) -> Flow {
        Flow::Go
    }
    fn epoch_end(&mut self, _: &Epoch, _: bool, _: State<f64>) -> Flow {
        Flow::Go
    }
    fn batch_begin(&mut self, _: usize, _: State<f64>) -> Flow {
        Flow::Go
    }
    fn batch_end(&mut self, _: usize, _: f64, _: State<f64>) -> Flow {
        Flow::Go
    }
}

fn trained_in(order: Option<fn(usize, &mut [u32])>, task: &Task<f64>) -> (Vec<u64>, Stopped) {
    let mut model = model::<f64>(3, vec![layer(4, "tanh"), layer(2, "identity")], "mse", adam(false));
    let mut how = fit_spec(4, 2, 0.1);
    (how.shuffle, how.order_rows) = (false, order.map(|_| 10));
    let data = task.data(&model.plan);
    let history = match order {
        Some(order) => fit(&mut model, &data, None, &how, &mut Order(order)),
        None => fit(&mut model, &data, None, &how, &mut Watcher::new()),
    };
    (bits(&model.params), history.expect("it trains").stopped)
}

#[test]
fn rows_in_the_order_of_the_observer_train_as_rows_that_lie_so() {
    let task = Task::<f64>::regression(10, 3, 2);
    let mut turned = Task::<f64>::regression(10, 3, 2);
    turned.x = crate::network::table(10, 3, |i, j| task.x.row(9 - i)[j]);
    turned.y = crate::network::table(10, 2, |i, j| task.y.row(9 - i)[j]);
    let backwards = |_: usize, order: &mut [u32]| order.copy_from_slice(&[9, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
    assert_eq!(trained_in(Some(backwards), &task), trained_in(None, &turned));
    // The observer finds the order of the epoch before: turned round twice it is the first one again.
    let turn = |epoch: usize, order: &mut [u32]| {
        assert_eq!(order[0], if epoch == 0 { 0 } else { 9 });
        order.reverse();
    };
    assert_ne!(trained_in(Some(turn), &task), trained_in(Some(backwards), &task));
}

#[test]
fn an_order_with_a_row_that_is_not_there_ends_training_before_the_epoch() {
    let task = Task::<f64>::regression(10, 3, 2);
    let first = bits(&model::<f64>(3, vec![layer(4, "tanh"), layer(2, "identity")], "mse", adam(false)).params);
    assert_eq!(trained_in(Some(|_, order| order[3] = 10), &task), (first, Stopped::Callback));
}

#[test]
fn an_improvement_by_tol_itself_counts_where_it_is_asked_for() {
    let task = Task::<f64>::regression(12, 3, 2);
    let epochs = |tol_inclusive: bool| {
        // A rate of 0: the loss never changes, which is an improvement by 0.
        let mut model = model::<f64>(3, vec![layer(2, "identity")], "mse", sgd(0.0));
        let mut how = fit_spec(12, 9, 0.0);
        (how.tol, how.n_iter_no_change, how.tol_inclusive) = (Some(0.0), 2, tol_inclusive);
        let data = task.data(&model.plan);
        fit(&mut model, &data, None, &how, &mut Watcher::new()).expect("it trains").epochs.len()
    };
    assert_eq!((epochs(false), epochs(true)), (3, 9));
}
