//! How far a training has come: what is remembered beside parameters and optimizer, so that going on equals never
//! having stopped.
//!
//! In: what each epoch measured. Out: the best weights, and a reason to stop. It takes no step.

use crate::averaging::{self, Average};
use crate::error::Error;
use crate::optimizer::Reach;
use crate::params::Params;
use crate::plan::Plan;
use crate::stopping::{Stopping, Waited};
use dnn_kernels::{Real, Team};
use dnn_spec::Averaging;
use serde::{Deserialize, Serialize};

/// What a call of `fit` leaves behind for one that goes on.
#[derive(Debug, Default)]
pub struct Progress<T: Real> {
    /// The number of the epoch that comes next.
    pub next_epoch: usize,
    /// The epochs without improvement so far.
    pub stopping: Stopping,
    /// Room for the best weights, where somebody wants them back.
    best: Option<Best<T>>,
    /// The mean of the weights, where one is asked for.
    average: Option<Average<T>>,
    /// How large the weights may have become.
    pub reach: Reach,
}

#[derive(Debug)]
struct Best<T: Real> {
    /// The weights of the best epoch; once those have come back, the ones that training had reached.
    other: Params<T>,
    /// The lowest of what is watched, and its epoch; none before the first one.
    found: Option<(f64, usize)>,
    came_back: bool,
}

/// The same without the weights, as the model file has it. Losses are bits: they may be infinite.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Saved {
    next_epoch: usize,
    training: Waited,
    validation: Waited,
    best: Option<(u64, usize, bool)>,
    #[serde(default)]
    average: Option<averaging::Saved>,
}

/// What the weights beside those of the model are called in a file.
const OTHER: &str = "other.";
const AVERAGE: &str = "average.";

impl<T: Real> Progress<T> {
    /// Makes ready for a `fit` from this epoch on: goes on where the last one ended, if that is its number.
    ///
    /// # Errors
    /// [`Error::Memory`]; nothing has changed then.
    pub fn begin(
        &mut self,
        first_epoch: usize,
        keeps_best: bool,
        averaging: Option<Averaging>,
        params: &mut Params<T>,
    ) -> Result<(), Error> {
        let goes_on = first_epoch > 0 && self.next_epoch == first_epoch;
        let has_room = goes_on && self.best.is_some();
        let room = (keeps_best && !has_room).then(|| params.duplicate()).transpose()?;
        let averages = |rule| goes_on && self.average.as_ref().is_some_and(|average| average.is_by(rule));
        let fresh = averaging.filter(|&rule| !averages(rule)).map(|rule| Average::new(rule, params)).transpose()?;
        let reach = self.known_reach();
        if !goes_on {
            *self = Progress::default();
        }
        self.reach = reach;
        if let Some(best) = self.best.as_mut().filter(|best| best.came_back) {
            std::mem::swap(params, &mut best.other);
            best.came_back = false;
        }
        if let Some(other) = room {
            self.best = Some(Best { other, found: None, came_back: false });
        }
        if !keeps_best {
            self.best = None;
        }
        self.hide_average(params);
        if fresh.is_some() || averaging.is_none() {
            self.average = fresh;
        }
        Ok(())
    }

    /// How large the weights are, as far as that is known: nothing where the best ones or their mean stand in the place
    /// of those that were stepped.
    pub fn known_reach(&self) -> Reach {
        let shows_others = self.best.as_ref().is_some_and(|best| best.came_back)
            || self.average.as_ref().is_some_and(Average::is_shown);
        if shows_others { Reach::default() } else { self.reach }
    }

    /// Whether the weights after each step count, for their mean.
    pub fn averages(&self) -> bool {
        self.average.is_some()
    }

    /// Averages the weights after a step, where that is asked for.
    pub fn after_step(&mut self, plan: &Plan, team: &Team, params: &Params<T>) {
        if let Some(average) = &mut self.average {
            average.after_step(plan, team, params);
        }
    }

    /// Averages the weights after an epoch, where that is asked for, and shows their mean; returns whether it stands in
    /// the place of the weights now.
    pub fn after_epoch(&mut self, plan: &Plan, team: &Team, epoch: usize, params: &mut Params<T>) -> bool {
        self.average.as_mut().is_some_and(|average| {
            average.after_epoch(plan, team, epoch, params);
            average.show(params)
        })
    }

    /// Puts the weights that training has reached in their place again, if their mean stood there.
    pub fn hide_average(&mut self, params: &mut Params<T>) {
        if let Some(average) = &mut self.average {
            average.hide(params);
        }
    }

    /// Puts the mean of the weights, if there is one, in their place at the end, unless the best ones stand there;
    /// returns whether it does.
    pub fn end_with_average(&mut self, params: &mut Params<T>) -> bool {
        let has_best = self.best.as_ref().is_some_and(|best| best.came_back);
        !has_best && self.average.as_mut().is_some_and(|average| average.show(params))
    }

    /// Keeps the weights of an epoch, if its value is the lowest so far, or the first that is a number.
    pub fn see(&mut self, value: f64, epoch: usize, params: &Params<T>) {
        if let Some(best) = &mut self.best
            && best.found.is_none_or(|(lowest, _)| value < lowest || lowest.is_nan() && !value.is_nan())
        {
            best.other.copy_from_slice(params);
            best.found = Some((value, epoch));
        }
    }

    /// Puts the best weights in the place of the last ones, which are kept; tells their epoch.
    pub fn bring_back(&mut self, params: &mut Params<T>) -> Option<usize> {
        let best = self.best.as_mut()?;
        let (_, epoch) = best.found?;
        std::mem::swap(params, &mut best.other);
        best.came_back = true;
        Some(epoch)
    }

    /// The weights were changed from outside: there is no way back to those that training had reached.
    pub fn weights_changed(&mut self) {
        self.reach.forget();
        let had_come_back = self.best.as_ref().is_some_and(|best| best.came_back);
        if had_come_back {
            self.best = None;
        }
        if let Some(average) = self.average.as_mut().filter(|average| had_come_back || average.is_shown()) {
            average.start_anew();
        }
    }

    /// The same once more.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn duplicate(&self) -> Result<Progress<T>, Error> {
        let copy = |best: &Best<T>| {
            Ok::<_, Error>(Best { other: best.other.duplicate()?, found: best.found, came_back: best.came_back })
        };
        let best = self.best.as_ref().map(copy).transpose()?;
        let average = self.average.as_ref().map(Average::duplicate).transpose()?;
        Ok(Progress { next_epoch: self.next_epoch, stopping: self.stopping.clone(), best, average, reach: self.reach })
    }

    /// The same, which leaves the number of the next epoch behind and nothing else.
    pub fn hand_out(&mut self) -> Progress<T> {
        let left = Progress { next_epoch: self.next_epoch, ..Progress::default() };
        std::mem::replace(self, left)
    }

    /// Without the weights.
    pub fn to_saved(&self) -> Saved {
        let [training, validation] = self.stopping.waited();
        let best = self.best.as_ref().and_then(|best| {
            let (loss, epoch) = best.found?;
            Some((loss.to_bits(), epoch, best.came_back))
        });
        let average = self.average.as_ref().filter(|average| average.other().is_some()).map(Average::to_saved);
        Saved { next_epoch: self.next_epoch, training, validation, best, average }
    }

    /// The weights that go with [`Progress::to_saved`], with their names.
    pub fn others(&self) -> impl Iterator<Item = (&'static str, &Params<T>)> {
        let best = self.best.as_ref().filter(|best| best.found.is_some()).map(|best| (OTHER, &best.other));
        let average = self.average.as_ref().and_then(|average| Some((AVERAGE, average.other()?)));
        best.into_iter().chain(average)
    }

    /// What [`Progress::to_saved`] and [`Progress::others`] gave; `read` reads one of the latter.
    ///
    /// # Errors
    /// Those of `read`, and [`Error::Invalid`] for averages that nobody could have made.
    pub fn from_saved(
        saved: Saved,
        read: impl Fn(&'static str) -> Result<Params<T>, Error>,
    ) -> Result<Progress<T>, Error> {
        let best = match saved.best {
            None => None,
            Some((loss, epoch, came_back)) => {
                Some(Best { other: read(OTHER)?, found: Some((f64::from_bits(loss), epoch)), came_back })
            }
        };
        averaging::check(saved.average.map(|(rule, ..)| rule))?;
        let average = saved.average.map(|saved| Ok::<_, Error>(Average::from_saved(saved, read(AVERAGE)?)));
        let average = average.transpose()?;
        let stopping = Stopping::from_waited([saved.training, saved.validation]);
        Ok(Progress { next_epoch: saved.next_epoch, stopping, best, average, reach: Reach::default() })
    }
}
