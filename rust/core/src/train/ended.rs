//! Why training ended, in words.

use crate::error::short;
use crate::history::Stopped;
use crate::optimizer::decay_of;
use dnn_kernels::Real;
use dnn_spec::OptimizerSpec;

/// The reason, and a sentence for the user.
pub type Ended = (Stopped, String);

pub fn by_callback(epoch: usize) -> Ended {
    (Stopped::Callback, format!("a callback stopped training in epoch {}", epoch + 1))
}

pub fn interrupted(epoch: usize, when: &str) -> Ended {
    (Stopped::Interrupted, format!("interrupted in epoch {} {when}", epoch + 1))
}

/// All epochs are done.
pub fn as_asked(epochs: usize) -> Ended {
    let all = if epochs == 1 { "the one epoch is done".into() } else { format!("all {epochs} epochs are done") };
    (Stopped::Epochs, all)
}

/// `place` is an epoch and a batch of it, counted from 0, where training has several.
pub fn diverged(what: &str, place: Option<(usize, usize)>, rate: Option<f64>) -> String {
    let place = place.map_or(String::new(), |(epoch, batch)| format!(" in epoch {}, step {}", epoch + 1, batch + 1));
    let slower = rate.map_or(String::new(), |rate| format!("a learning rate below {}, ", short(rate)));
    format!(
        "training diverged: {what}{place}; the weights are those before that step. \
         Try {slower}inputs and numeric targets scaled to mean 0 and variance 1, or another initializer"
    )
}

/// What a step would do that its reach does not allow.
pub fn too_large<T: Real>(optimizer: &OptimizerSpec, rate: f64) -> String {
    let share = rate * decay_of(optimizer);
    let why = if share > 2.0 {
        format!(", as each step takes {share} times every weight from it (learning_rate times weight_decay)")
    } else {
        String::new()
    };
    format!("the weights become too large for {}{why}", T::NAME)
}
