//! When training ends before its last epoch, and what "no improvement" means.

use crate::network::{Task, Watcher, adam, bits, fit_spec, layer, model, sgd};
use dnn_core::{FitSpec, History, Model, Stopped, evaluate, fit};

fn network() -> Model<f64> {
    model(3, vec![layer(8, "tanh"), layer(1, "identity")], "mse", sgd(0.0))
}

fn run(model: &mut Model<f64>, validation: Option<&Task<f64>>, how: &FitSpec) -> (History, Watcher<f64>) {
    let task = Task::<f64>::regression(32, 3, 1);
    let data = task.data(&model.plan);
    let validation = validation.map(|task| task.data(&model.plan));
    let mut watcher = Watcher::new();
    let history = fit(model, &data, validation.as_ref(), how, &mut watcher).expect("it trains");
    (history, watcher)
}

fn losses(history: &History) -> Vec<f64> {
    history.epochs.iter().map(|epoch| epoch.loss).collect()
}

/// The epochs after which the loss was, `n` times in a row, not below the best before by more than `by`; the first.
fn first_without_improvement(losses: &[f64], by: f64, n: usize) -> Option<usize> {
    let stands_still = |at: usize| {
        let best = losses[..at].iter().copied().fold(f64::INFINITY, f64::min);
        losses[at] >= best - by
    };
    (0..losses.len()).find(|&at| at + 1 >= n && (at + 1 - n..=at).all(stands_still)).map(|at| at + 1)
}

/// The same where the mark is the last loss that was below it by more than `by`.
fn first_without_gain(losses: &[f64], by: f64, n: usize) -> Option<usize> {
    let (mut mark, mut since) = (f64::INFINITY, 0);
    losses
        .iter()
        .position(|&loss| {
            (mark, since) = if loss < mark - by { (loss, 0) } else { (mark, since + 1) };
            since == n
        })
        .map(|at| at + 1)
}

#[test]
fn with_n_iter_no_change_1_the_first_epoch_without_improvement_ends_training() {
    // A rate of 0 improves nothing: the first epoch sets the mark, the second does not pass it.
    for (n, epochs, waited) in [(1, 2, "1 epoch"), (2, 3, "2 epochs"), (5, 6, "5 epochs")] {
        let mut how = fit_spec(32, 50, 0.0);
        (how.tol, how.n_iter_no_change) = (Some(0.0), n);
        let (history, watcher) = run(&mut network(), None, &how);
        assert_eq!((history.stopped, history.epochs.len()), (Stopped::Tol, epochs));
        let message = format!("the loss did not improve by more than tol=0 for {waited}, up to epoch {epochs}");
        assert_eq!(history.message, message);
        assert_eq!(watcher.last.iter().filter(|last| **last).count(), 1, "the last epoch is told to be the last");
        assert_eq!(watcher.last.last(), Some(&true));
    }
}

#[test]
fn tol_ends_training_where_the_losses_say_so() {
    // Small batches at a large rate make a loss that goes up and down.
    let mut free = fit_spec(4, 60, 0.3);
    let all = losses(&run(&mut network(), None, &free).0);
    assert!(all.windows(2).any(|pair| pair[1] > pair[0]), "the losses are no test if they only fall");
    let mut met = 0;
    for tol in [0.0, 1e-4, 1e-3, 1e-2] {
        for n in [1, 2, 3, 7] {
            (free.tol, free.n_iter_no_change) = (Some(tol), n);
            let (history, _) = run(&mut network(), None, &free);
            let expected = first_without_improvement(&all, tol, n);
            assert_eq!(history.epochs.len(), expected.unwrap_or(60), "tol {tol}, n_iter_no_change {n}");
            assert_eq!(history.stopped, if expected.is_some() { Stopped::Tol } else { Stopped::Epochs });
            assert_eq!(losses(&history), all[..history.epochs.len()], "the way there is the same");
            met += usize::from(expected.is_some());
        }
    }
    assert!(met >= 8, "tol was reached {met} times");
}

#[test]
fn small_steps_down_that_stay_within_tol_are_no_improvement() {
    let mut how = fit_spec(32, 50, 1e-4);
    let all = losses(&run(&mut network(), None, &how).0);
    assert!(all.windows(2).all(|pair| pair[1] < pair[0] && pair[0] - pair[1] < 1e-2), "slow and steady");
    (how.tol, how.n_iter_no_change) = (Some(1e-2), 3);
    let (history, _) = run(&mut network(), None, &how);
    assert_eq!((history.stopped, history.epochs.len()), (Stopped::Tol, 4));
}

#[test]
fn stop_at_loss_ends_training_at_the_first_loss_that_is_low_enough() {
    let mut how = fit_spec(8, 60, 0.1);
    let all = losses(&run(&mut network(), None, &how).0);
    for level in [all[0], all[10], all[40], 0.0] {
        how.stop_at_loss = Some(level);
        let (history, _) = run(&mut network(), None, &how);
        let expected = all.iter().position(|&loss| loss <= level).map(|at| at + 1);
        assert_eq!(history.epochs.len(), expected.unwrap_or(60), "level {level}");
        assert_eq!(history.stopped, if expected.is_some() { Stopped::StopAtLoss } else { Stopped::Epochs });
    }
}

#[test]
fn max_time_ends_training_after_the_epoch_in_which_it_is_over() {
    // The clock of the watcher ticks a second in every epoch.
    for (limit, epochs) in [(0.0, 1), (1.0, 1), (2.5, 3), (3.0, 3), (99.0, 7)] {
        let mut how = fit_spec(8, 7, 0.1);
        how.max_time = Some(limit);
        let (history, _) = run(&mut network(), None, &how);
        assert_eq!(history.epochs.len(), epochs, "max_time {limit}");
        assert_eq!(history.stopped, if limit < 7.0 { Stopped::MaxTime } else { Stopped::Epochs });
        assert_eq!(history.epochs.iter().map(|epoch| epoch.seconds).collect::<Vec<_>>(), {
            (1..=epochs).map(|second| second as f64).collect::<Vec<_>>()
        });
    }
}

/// Validation data of which more training makes a worse job: the opposite of what is learned.
fn opposite() -> Task<f64> {
    let mut task = Task::<f64>::regression(20, 3, 1);
    task.y = crate::network::table(20, 1, |i, _| -task.y.row(i)[0]);
    task
}

#[test]
fn patience_counts_the_epochs_in_which_the_validation_loss_does_not_improve() {
    for (patience, waited) in [(1, "1 epoch"), (3, "3 epochs")] {
        let mut how = fit_spec(8, 50, 0.0);
        how.patience = Some(patience);
        let (history, _) = run(&mut network(), Some(&opposite()), &how);
        assert_eq!((history.stopped, history.epochs.len()), (Stopped::EarlyStopping, 1 + patience));
        let epochs = 1 + patience;
        let message = format!("the validation loss did not improve for {waited}, up to epoch {epochs}");
        assert_eq!(history.message, message);
    }
    let mut how = fit_spec(4, 60, 0.3);
    let free = run(&mut network(), Some(&Task::regression(20, 3, 1)), &how).0;
    let all: Vec<f64> = free.epochs.iter().map(|epoch| epoch.val_loss.expect("validation")).collect();
    for (patience, min_delta) in [(1, 0.0), (2, 0.0), (2, 1e-3), (5, 1e-2)] {
        (how.patience, how.min_delta) = (Some(patience), min_delta);
        let (history, _) = run(&mut network(), Some(&Task::regression(20, 3, 1)), &how);
        let expected = first_without_gain(&all, min_delta, patience);
        assert_eq!(history.epochs.len(), expected.unwrap_or(60), "patience {patience}, min_delta {min_delta}");
    }
}

#[test]
fn without_validation_data_patience_has_nothing_to_count() {
    let mut how = fit_spec(8, 5, 0.0);
    how.patience = Some(1);
    assert_eq!(run(&mut network(), None, &how).0.stopped, Stopped::Epochs);
}

#[test]
fn restore_best_brings_back_the_weights_of_the_lowest_validation_loss() {
    let validation = opposite();
    let mut how = fit_spec(8, 30, 0.1);
    (how.patience, how.restore_best) = (Some(4), true);
    let mut restored = network();
    let (history, watcher) = run(&mut restored, Some(&validation), &how);
    let all: Vec<f64> = history.epochs.iter().map(|epoch| epoch.val_loss.expect("validation")).collect();
    let lowest = all.iter().copied().fold(f64::INFINITY, f64::min);
    let best = all.iter().position(|&loss| loss == lowest).expect("one of them");
    assert_eq!((history.stopped, history.best_epoch), (Stopped::EarlyStopping, Some(best)));
    assert_ne!(bits(&restored.params), bits(&watcher.after), "it went on beyond the best");
    let measured = evaluate(&restored, &validation.data(&restored.plan), &[], 1).expect("it fits").0;
    assert_eq!(measured, lowest);
    // The same weights as training that ends there.
    let mut short = network();
    run(&mut short, Some(&validation), &fit_spec(8, best + 1, 0.1));
    assert_eq!(bits(&restored.params), bits(&short.params));
}

#[test]
fn the_loss_of_an_epoch_is_the_mean_over_its_rows() {
    // Batches of 12, 12 and 8 rows, weights that do not change: the mean over batches would be another number.
    for optimizer in [sgd(0.0), adam(false)] {
        let mut model = model::<f64>(3, vec![layer(8, "tanh"), layer(1, "identity")], "mse", optimizer);
        let task = Task::<f64>::regression(32, 3, 1);
        let expected = evaluate(&model, &task.data(&model.plan), &[], 1).expect("it fits").0;
        let (history, _) = run(&mut model, None, &fit_spec(12, 1, 0.0));
        assert!((history.epochs.at(0).loss - expected).abs() < 1e-14, "a sum of 32 rows in another order");
    }
}
