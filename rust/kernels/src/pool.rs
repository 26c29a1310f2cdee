//! The thread pool: workers that stay, a caller that works too.
//!
//! In: a number of tiles and a function of the tile's index. Out: every tile done once, by whoever claimed it.
//! It never decides anything about the result: a tile computes the same bits whoever runs it.
//!
//! One pool serves the process. A [`Team`] is the right to use it; who asks while another has it works alone, so that
//! many fits in many Python threads neither wait for each other nor run more threads than processors.
//! The caller waits only for tiles that somebody claimed: a worker that sleeps, or that a `fork` left behind in the
//! parent process, costs nothing but its help.

use crate::placement::{Processors, processor};
use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

/// How long a worker looks for the next job before it sleeps. Waking one costs the caller 2 to 5 us; the gaps between
/// the jobs of a training step are below 10 us.
const SPIN: Duration = Duration::from_micros(40);
/// Nanoseconds of work, in one job or in several that follow each other closely, for which it is worth waking everybody.
/// Small jobs, also those of calls of their own, are shared once they have come to this much; they keep who was woken
/// awake. (64 rows of 64-128-64-10 predicted again and again: 22.3 us on one thread, 13.6 on two.)
const WORTH_WAKING: u64 = 30_000;
/// From one such job to the next at most.
const CLOSELY: Duration = Duration::from_micros(100);
/// Looks for the end of a job before the caller offers its processor: some 100 us.
const PATIENCE: u32 = 4000;
/// How long the caller waits for a worker after that, before the worker is thought to have lost its processor to another
/// program: programs take turns of some 4 ms.
const LOST: Duration = Duration::from_millis(2);
/// How long the caller then works alone, where it has waited for more than a quarter of the time since it last did: at
/// first, and at most, as it is four times as long the next time. Beside a program that keeps one of two processors busy, it
/// would wait for every second turn.
const ALONE: Duration = Duration::from_millis(10);
const LONGEST_ALONE: Duration = Duration::from_millis(500);
/// Tiles of one job at most: the counter is 16 bits.
const MAX_TILES: usize = u16::MAX as usize;

/// A function of a tile index with its argument, both erased: `call` may be given `context`, and nothing else.
#[derive(Clone, Copy)]
struct Job {
    call: unsafe fn(*const (), usize),
    context: *const (),
}

struct Shared {
    /// Generation of the job (32 bits), first tile that nobody has claimed (16), end of those tiles (16).
    ///
    /// The caller claims from the front, workers from the end: so a thread mostly gets the tiles that it had in the
    /// job before, whose numbers are in its cache.
    ///
    /// A claim is a compare-and-swap of the whole word. It fails for a worker that still thinks of an older job, and
    /// once it has succeeded the job can't end before the tile is reported done: so `job` is valid after a claim.
    state: AtomicU64,
    job: UnsafeCell<Job>,
    /// Tiles of the current job that are finished.
    done: AtomicUsize,
    /// Workers of a lower number than this may take part.
    allowed: AtomicUsize,
    /// Number of the processor that the caller runs on, or `usize::MAX`.
    callers: AtomicUsize,
    sleeping: AtomicU32,
    lock: Mutex<()>,
    wake: Condvar,
    panicked: AtomicBool,
}

// SAFETY: `job` is written only by the holder of the team while no tile is claimed, and read only after a claim.
unsafe impl Sync for Shared {}
// SAFETY: the pointers in `job` are used only between publishing a job and its end, during which the caller keeps them.
unsafe impl Send for Shared {}

fn tiles_left(state: u64) -> bool {
    (state >> 16) & 0xffff < state & 0xffff
}

impl Shared {
    /// Claims a tile of the job of the moment, from the back for a worker and from the front for the caller: its index.
    ///
    /// A worker that comes from the job of a larger team may see the next one of a smaller team: it takes none of that.
    /// `allowed` is looked at between reading the state and exchanging it, and the state has the number of the job in it,
    /// so what was read is of the same job, or nothing is claimed.
    fn claim(&self, worker: Option<usize>) -> Option<usize> {
        let mut state = self.state.load(Ordering::Acquire);
        while tiles_left(state) && worker.is_none_or(|number| number < self.allowed.load(Ordering::Acquire)) {
            let (next, tile) = if worker.is_none() {
                (state + (1 << 16), (state >> 16) & 0xffff)
            } else {
                (state - 1, (state & 0xffff) - 1)
            };
            match self.state.compare_exchange_weak(state, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(tile as usize),
                Err(now) => state = now,
            }
        }
        None
    }

    /// Runs tiles until none is left to claim.
    fn work(&self, worker: Option<usize>) -> Result<(), Box<dyn Any + Send>> {
        let mut outcome = Ok(());
        while let Some(tile) = self.claim(worker) {
            // SAFETY: a tile was claimed, so the job is published and can't end before `done` counts this tile.
            let job = unsafe { *self.job.get() };
            // SAFETY: as above; the context outlives the job.
            let ran = catch_unwind(AssertUnwindSafe(|| unsafe { (job.call)(job.context, tile) }));
            if ran.is_err() {
                self.panicked.store(true, Ordering::Relaxed);
                outcome = ran;
            }
            self.done.fetch_add(1, Ordering::Release);
        }
        outcome
    }

    fn worker(&self, number: usize) {
        let processors = Processors::of_this_thread();
        let mut idle_since = Instant::now();
        loop {
            self.step_aside(processors);
            let mut looked = 0u32;
            while !tiles_left(self.state.load(Ordering::Acquire)) || number >= self.allowed.load(Ordering::Relaxed) {
                std::hint::spin_loop();
                looked += 1;
                if looked.is_multiple_of(64) && idle_since.elapsed() > SPIN {
                    self.sleep(number);
                    self.step_aside(processors);
                    idle_since = Instant::now();
                }
            }
            // A panic was noted in `panicked`; the caller raises it.
            let _noted = self.work(Some(number));
            idle_since = Instant::now();
        }
    }

    /// Leaves the processor that the caller runs on to it, where there are others among those the worker may use.
    fn step_aside(&self, processors: Option<Processors>) {
        let callers = self.callers.load(Ordering::Relaxed);
        if processor() == Some(callers)
            && let Some(others) = processors.and_then(|all| all.without(callers))
        {
            // Where it is refused, the system goes on placing it.
            let _agreed = others.take();
        }
    }

    /// Waits to be woken; then the worker looks for work for a while, as the job that woke it may be over: from the call to
    /// here took longer than a step of a small network where the system had halted the processor.
    fn sleep(&self, number: usize) {
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.sleeping.fetch_add(1, Ordering::SeqCst);
        let is_allowed = || number < self.allowed.load(Ordering::SeqCst);
        // Not where a job has begun since it last looked, whose caller has not seen it asleep.
        if !tiles_left(self.state.load(Ordering::SeqCst)) || !is_allowed() {
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
            while !is_allowed() {
                guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
            }
        }
        drop(guard);
        self.sleeping.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Pool {
    shared: Arc<Shared>,
    workers: usize,
    /// Until when the caller works alone, where a worker was lost, and for how long it will the next time.
    alone_until: Cell<Option<Instant>>,
    alone_for: Cell<Duration>,
    /// Since when no worker was lost.
    together_since: Cell<Instant>,
    /// Nanoseconds of work done while somebody slept, and when the last of it began.
    missed: Cell<u64>,
    missed_at: Cell<Instant>,
}

/// The pool of a process, which made it: after a `fork` the child has the memory but not the workers, and a thread that is
/// not there may hold the lock.
struct OfProcess {
    process: u32,
    pool: Mutex<Pool>,
}

static POOL: AtomicPtr<OfProcess> = AtomicPtr::new(std::ptr::null_mut());

/// That of this process. It stays for ever, also where a child makes its own.
fn pool() -> &'static Mutex<Pool> {
    let process = std::process::id();
    loop {
        let there = POOL.load(Ordering::Acquire);
        // SAFETY: null, or leaked from a box below.
        if let Some(found) = unsafe { there.as_ref() }
            && found.process == process
        {
            return &found.pool;
        }
        let made = Box::into_raw(Box::new(OfProcess { process, pool: Mutex::new(Pool::new()) }));
        if POOL.compare_exchange(there, made, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            // SAFETY: nobody else has seen it.
            drop(unsafe { Box::from_raw(made) });
        }
    }
}

impl Pool {
    fn new() -> Pool {
        /// # Safety
        /// None is needed: it looks at nothing.
        unsafe fn nothing(_: *const (), _: usize) {}
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            job: UnsafeCell::new(Job { call: nothing, context: std::ptr::null() }),
            done: AtomicUsize::new(0),
            allowed: AtomicUsize::new(0),
            callers: AtomicUsize::new(usize::MAX),
            sleeping: AtomicU32::new(0),
            lock: Mutex::new(()),
            wake: Condvar::new(),
            panicked: AtomicBool::new(false),
        });
        Pool {
            shared,
            workers: 0,
            alone_until: Cell::new(None),
            alone_for: Cell::new(ALONE),
            together_since: Cell::new(Instant::now()),
            missed: Cell::new(0),
            missed_at: Cell::new(Instant::now()),
        }
    }

    /// Starts workers until there are `wanted`, or as many as the system gives.
    fn grow(&mut self, wanted: usize) {
        while self.workers < wanted {
            let (shared, number) = (Arc::clone(&self.shared), self.workers);
            let started = std::thread::Builder::new()
                .name(format!("dnn-{number}"))
                .stack_size(1 << 20)
                .spawn(move || shared.worker(number));
            if started.is_err() {
                return;
            }
            self.workers += 1;
        }
    }

    /// Whether it is worth waking who sleeps for work that begins, and what there was of it just before.
    fn is_worth_waking(&self, nanoseconds: u64) -> bool {
        let now = Instant::now();
        let is_close = now.saturating_duration_since(self.missed_at.replace(now)) < CLOSELY;
        let missed = nanoseconds.saturating_add(if is_close { self.missed.get() } else { 0 });
        self.missed.set(missed);
        missed >= WORTH_WAKING
    }

    /// Whether a worker was lost a short while ago.
    fn is_unreliable(&self) -> bool {
        let Some(until) = self.alone_until.get() else { return false };
        let still = Instant::now() < until;
        if !still {
            self.alone_until.set(None);
        }
        still
    }

    /// A worker has kept the caller waiting for so long.
    fn lost_a_worker(&self, waited: Duration) {
        let now = Instant::now();
        let together = now.saturating_duration_since(self.together_since.replace(now));
        if together > 4 * waited {
            self.alone_for.set(ALONE);
            return;
        }
        let until = now + self.alone_for.get();
        self.alone_until.set(Some(until));
        self.together_since.set(until);
        self.alone_for.set(LONGEST_ALONE.min(4 * self.alone_for.get()));
    }
}

/// The right to use the pool's workers, for as long as it lives. Made by [`Team::of`].
pub struct Team {
    pool: Option<MutexGuard<'static, Pool>>,
    /// All of them, the caller included, and those that work at the moment.
    threads: usize,
    at_work: Cell<usize>,
    shares_rows: Cell<bool>,
    keeps_weights: Cell<bool>,
}

impl Team {
    /// A team of `threads`, the caller included; fewer where the system gives fewer, one where the pool is in use.
    pub fn of(threads: usize) -> Team {
        if threads < 2 {
            return Team::solo();
        }
        let mut pool = match pool().try_lock() {
            Ok(pool) => pool,
            Err(TryLockError::Poisoned(broken)) => broken.into_inner(),
            Err(TryLockError::WouldBlock) => return Team::solo(),
        };
        pool.grow(threads - 1);
        let workers = pool.workers.min(threads - 1);
        pool.shared.allowed.store(workers, Ordering::SeqCst);
        Team { pool: Some(pool), ..Team::without_workers(workers + 1) }
    }

    /// A team of just so many threads, as soon as the pool is free: to test and to measure with. It never comes where
    /// the system does not give as many.
    pub fn exactly(threads: usize) -> Team {
        loop {
            let team = Team::of(threads);
            if team.threads() == threads {
                return team;
            }
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    /// The caller alone.
    pub fn solo() -> Team {
        Team::without_workers(1)
    }

    fn without_workers(threads: usize) -> Team {
        Team {
            pool: None,
            threads,
            at_work: Cell::new(threads),
            shares_rows: Cell::new(false),
            keeps_weights: Cell::new(false),
        }
    }

    /// How many threads work, the caller included.
    pub fn threads(&self) -> usize {
        self.at_work.get()
    }

    /// Lets only so many threads work from now on; `usize::MAX` is all of them.
    pub fn limit(&self, threads: usize) {
        let threads = threads.clamp(1, self.threads);
        if self.at_work.replace(threads) == threads {
            return;
        }
        // One thread alone does not come by the workers.
        if let Some(pool) = &self.pool
            && threads > 1
        {
            pool.shared.allowed.store(threads - 1, Ordering::SeqCst);
        }
    }

    /// Says whether the threads share the rows of a step, so that each goes through all weights and their gradients, and
    /// has to bring over what another has written in any case.
    pub fn share_rows(&self, yes: bool) {
        self.shares_rows.set(yes);
    }

    /// What [`Team::share_rows`] has said last.
    pub(crate) fn shares_rows(&self) -> bool {
        self.shares_rows.get()
    }

    /// Says whether weights stay as they are from job to job, so that each core has its own of them: smaller jobs pay.
    pub fn keep_weights(&self, yes: bool) {
        self.keeps_weights.set(yes);
    }

    /// What [`Team::keep_weights`] has said last.
    pub(crate) fn keeps_weights(&self) -> bool {
        self.keeps_weights.get()
    }

    /// Calls `tile(0)`, `tile(1)`, ... `tile(tiles - 1)`, each once, on any thread, in any order.
    ///
    /// `nanoseconds` is a guess of the whole work; a little work does not wake sleeping workers. More tiles than
    /// [`MAX_TILES`], and all that a busy pool is asked for, this thread calls alone.
    ///
    /// # Panics
    /// When a tile does, after all tiles that were begun have ended.
    pub fn run<F: Fn(usize) + Sync>(&self, tiles: usize, nanoseconds: u64, tile: F) {
        let worth_it = tiles > 1 && self.threads() > 1 && tiles <= MAX_TILES;
        let pool = match &self.pool {
            Some(pool) if worth_it && !pool.is_unreliable() => pool,
            _ => return (0..tiles).for_each(tile),
        };
        let shared = &pool.shared;
        /// # Safety
        /// `context` is a `&F` that lives until the call is over.
        unsafe fn call<F: Fn(usize)>(context: *const (), tile: usize) {
            // SAFETY: the caller's word.
            unsafe { (*context.cast::<F>())(tile) }
        }
        // SAFETY: the team is held by this thread alone, and the last job has ended, so nobody reads `job`.
        unsafe { *shared.job.get() = Job { call: call::<F>, context: (&raw const tile).cast() } };
        shared.callers.store(processor().unwrap_or(usize::MAX), Ordering::Relaxed);
        shared.done.store(0, Ordering::Relaxed);
        let generation = (shared.state.load(Ordering::Relaxed) >> 32).wrapping_add(1);
        shared.state.store((generation << 32) | tiles as u64, Ordering::SeqCst);
        if shared.sleeping.load(Ordering::SeqCst) > 0 {
            // Somebody who falls asleep at this moment holds the lock, and will be woken by a later job; in the child of a
            // `fork`, which has the lock as it was and nobody who lets go of it, to wait would be for ever.
            if pool.is_worth_waking(nanoseconds) && !matches!(shared.lock.try_lock(), Err(TryLockError::WouldBlock)) {
                pool.missed.set(0);
                shared.wake.notify_all();
            }
        }
        let outcome = shared.work(None);
        let (mut looked, mut waits_since) = (0u32, None);
        while shared.done.load(Ordering::Acquire) < tiles {
            looked = looked.saturating_add(1);
            // The worker that has the last tile may have lost its processor to another program: leave it ours after
            // some 100 us. (To do the next jobs alone as well made a step of 20-256-256-1 take 1010 instead of 710 us
            // on a machine whose processors are shared, and was no better beside a program that keeps one busy.)
            if looked > PATIENCE {
                waits_since.get_or_insert_with(Instant::now);
                std::thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
        // What takes long gains more by a worker that comes and goes than by none.
        let waited = waits_since.map_or(Duration::ZERO, |since| since.elapsed());
        if waited > LOST.max(Duration::from_nanos(nanoseconds / 2)) {
            pool.lost_a_worker(waited);
        }
        if shared.panicked.swap(false, Ordering::Relaxed) {
            match outcome {
                Err(panic) => resume_unwind(panic),
                Ok(()) => panic!("a worker thread panicked"),
            }
        }
    }
}

/// A pointer to items of which every tile of a job takes another.
struct Items<S>(*mut S);
// SAFETY: shared only inside `Team::run_each`, whose tiles take one item each.
unsafe impl<S: Send> Sync for Items<S> {}

impl Team {
    /// Calls `each(i, &mut items[i])` for every item, each once, on any thread, in any order.
    ///
    /// `nanoseconds` is as for [`Team::run`].
    ///
    /// # Panics
    /// When a call does, after all calls that were begun have ended.
    pub fn run_each<S: Send>(&self, items: &mut [S], nanoseconds: u64, each: impl Fn(usize, &mut S) + Sync) {
        let first = Items(items.as_mut_ptr());
        let first = &first;
        // SAFETY: `run` calls a tile once, and tiles are below the length.
        self.run(items.len(), nanoseconds, |i| each(i, unsafe { &mut *first.0.add(i) }));
    }
}

#[cfg(test)]
mod tests;
