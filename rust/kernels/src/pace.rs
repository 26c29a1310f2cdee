//! How many threads of a team pay for themselves in steps that repeat.
//!
//! In: a team, and when each step begins and ends. Out: the team with as many threads at work as were fastest.
//!
//! What it costs to hand work over is not known beforehand: on one virtual machine of two processors a cache line went
//! there and back in 116 ns in one hour and in 416 ns in another, when its processors had been moved apart, and 128 rows
//! of 12 layers of 64 took 92 us in the first and 140 in the second, one thread 174; another program on a processor
//! changes more. So both are tried, and tried again from time to time. A step has the same bits on any number of threads.

use crate::pool::Team;
use std::time::Instant;

/// Steps before the first that is timed: threads start, memory is touched for the first time.
const FIRST_STEPS: u64 = 8;
/// Steps of a trial that count, and nanoseconds before them: a thread that sleeps has to be woken, which takes some 100 us
/// where its processor has been halted, and what another has in its caches must come over.
const STEPS: usize = 5;
const SETTLING: u64 = 300_000;
/// Steps that take longer gain by every thread, and cost too much to try.
const LONG_STEP: u64 = 500_000;
/// Nanoseconds from one trial to the next, the first time and at most; each time it is twice as much.
const FIRST_PAUSE: u64 = 10_000_000;
const LONGEST_PAUSE: u64 = 320_000_000;

/// The state of a search among all threads, half of them, a quarter and so on to one.
///
/// `begin` and `end` go around each step. While nothing is tried they cost a few nanoseconds.
#[derive(Debug)]
pub struct Pace {
    most: usize,
    /// The fastest so far, what a step took on them where that is just being found, and whether fewer are tried next.
    threads: usize,
    best: Option<u64>,
    down: bool,
    /// Steps to go until one is timed.
    left: u64,
    /// Nanoseconds of a trial so far, and the steps in it that count.
    settled: u64,
    times: [u64; STEPS],
    taken: usize,
    pause: u64,
    since: Option<Instant>,
}

impl Pace {
    /// Of steps on `team`, at first on all of its threads.
    pub fn of(team: &Team) -> Pace {
        Pace::new(team.threads())
    }

    fn new(most: usize) -> Pace {
        let left = if most > 1 { FIRST_STEPS } else { u64::MAX };
        Pace {
            most,
            threads: most,
            best: None,
            down: true,
            left,
            settled: 0,
            times: [0; STEPS],
            taken: 0,
            pause: FIRST_PAUSE,
            since: None,
        }
    }

    /// Before a step.
    pub fn begin(&mut self, team: &Team) {
        if self.left > 0 {
            self.left -= 1;
        } else {
            self.since = Some(Instant::now());
        }
        team.limit(self.at_work());
    }

    /// After a step: all threads are there for what comes between steps.
    pub fn end(&mut self, team: &Team) {
        if let Some(since) = self.since.take() {
            self.take(since.elapsed().as_nanos() as u64);
        }
        team.limit(self.most);
    }

    /// Threads of the coming step.
    fn at_work(&self) -> usize {
        if self.best.is_none() { self.threads } else { self.tried() }
    }

    /// Threads of a trial.
    fn tried(&self) -> usize {
        if self.down { self.threads.div_ceil(2) } else { (2 * self.threads).min(self.most) }
    }

    /// Takes the time of a step on [`Pace::at_work`] threads, in nanoseconds.
    fn take(&mut self, time: u64) {
        if self.settled < SETTLING {
            self.settled = self.settled.saturating_add(time);
            return;
        }
        self.times[self.taken] = time;
        self.taken += 1;
        if self.taken < STEPS {
            return;
        }
        (self.settled, self.taken) = (0, 0);
        self.times.sort_unstable();
        let time = self.times[STEPS / 2];
        let Some(best) = self.best else {
            if time > LONG_STEP {
                self.left = u64::MAX;
            } else {
                self.best = Some(time);
                self.down = self.threads == self.most || (self.down && self.threads > 1);
            }
            return;
        };
        // More threads have to be worth it: they are taken from other programs.
        let (fewer, more) = if self.down { (time, best) } else { (best, time) };
        let moves = (fewer - fewer / 32 <= more) == self.down;
        if moves {
            (self.threads, self.best) = (self.tried(), Some(time));
            if self.threads != 1 && self.threads != self.most {
                return;
            }
        }
        self.left = self.pause / if moves { time } else { best }.max(1);
        self.pause = (2 * self.pause).min(LONGEST_PAUSE);
        (self.best, self.down) = (None, !self.down);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps on each number of threads out of `steps`, where a step takes `time(threads)`.
    fn steps_on(most: usize, steps: usize, time: impl Fn(usize, usize) -> u64) -> Vec<usize> {
        let (mut pace, mut count) = (Pace::new(most), vec![0; most + 1]);
        for step in 0..steps {
            count[pace.at_work()] += 1;
            if pace.left > 0 {
                pace.left -= 1;
            } else {
                pace.take(time(pace.at_work(), step));
            }
        }
        count
    }

    #[test]
    fn stays_with_what_is_fastest() {
        for (name, times, fastest) in [
            ("two", vec![0, 20_000, 12_000], 2),
            ("one", vec![0, 20_000, 30_000], 1),
            ("one as fast as two", vec![0, 20_000, 19_800], 1),
            ("three of six", vec![0, 90_000, 55_000, 40_000, 0, 0, 60_000], 3),
            ("one of eight", vec![0, 10_000, 15_000, 0, 20_000, 0, 0, 0, 30_000], 1),
        ] {
            let count = steps_on(times.len() - 1, 100_000, |threads, _| times[threads]);
            assert!(count[fastest] > 99_000, "{name}: {count:?}");
        }
    }

    #[test]
    fn follows_when_the_machine_changes() {
        let count = steps_on(2, 200_000, |threads, step| match (threads, step < 100_000) {
            (1, _) => 20_000,
            (_, true) => 12_000,
            (_, false) => 40_000,
        });
        assert!(count[1] > 70_000 && count[2] > 90_000, "{count:?}");
    }

    #[test]
    fn tries_seldom_and_long_steps_never() {
        let count = steps_on(2, 10_000, |threads, _| 200_000 / threads as u64);
        assert!((STEPS..100).contains(&count[1]), "{count:?}");
        assert_eq!(steps_on(2, 10_000, |threads, _| 2_000_000 / threads as u64)[1], 0);
    }

    #[test]
    fn a_team_has_all_its_threads_between_steps() {
        let team = Team::exactly(2);
        let mut pace = Pace::of(&team);
        for _ in 0..1000 {
            pace.begin(&team);
            let at_work = pace.at_work();
            assert_eq!(team.threads(), at_work);
            pace.end(&team);
            assert_eq!(team.threads(), 2);
        }
    }
}
