//! Every tile runs once, for any number of threads, whatever else uses them.

use super::*;

#[test]
fn every_tile_runs_once_for_any_number_of_threads() {
    for threads in 1..=4 {
        for tiles in [0, 1, 2, 7, 64, 1000] {
            let team = Team::exactly(threads);
            for _ in 0..20 {
                let count: Vec<AtomicUsize> = (0..tiles).map(|_| AtomicUsize::new(0)).collect();
                team.run(tiles, u64::MAX, |tile| {
                    count[tile].fetch_add(1, Ordering::Relaxed);
                });
                assert!(count.iter().all(|c| c.load(Ordering::Relaxed) == 1));
            }
        }
    }
}

#[test]
fn every_item_is_lent_once() {
    let mut items = vec![0usize; 100];
    Team::exactly(3).run_each(&mut items, u64::MAX, |i, item| *item += i + 1);
    assert!(items.iter().enumerate().all(|(i, &item)| item == i + 1));
}

#[test]
fn a_panic_in_a_tile_reaches_the_caller_and_the_pool_lives_on() {
    let team = Team::exactly(3);
    let ran = catch_unwind(AssertUnwindSafe(|| {
        team.run(50, u64::MAX, |tile| assert!(tile != 17, "tile seventeen"));
    }));
    assert!(ran.is_err());
    let sum = AtomicUsize::new(0);
    team.run(10, u64::MAX, |tile| {
        sum.fetch_add(tile, Ordering::Relaxed);
    });
    assert_eq!(sum.into_inner(), 45);
}

#[test]
fn who_asks_while_another_has_the_pool_works_alone() {
    let first = Team::exactly(2);
    let second = std::thread::spawn(|| Team::of(2).threads()).join().expect("no panic");
    assert_eq!((first.threads(), second), (2, 1));
}

#[test]
fn works_alone_for_a_while_where_workers_are_lost_again_and_again() {
    let pool = Pool::new();
    assert!(!pool.is_unreliable());
    let ago = |time: Duration| Instant::now().checked_sub(time).expect("the clock has run for a while");
    let mut alone = vec![];
    for _ in 0..5 {
        pool.together_since.set(ago(Duration::from_millis(4)));
        pool.lost_a_worker(Duration::from_millis(4));
        assert!(pool.is_unreliable());
        let until = pool.alone_until.get().expect("it is alone");
        alone.push((until - Instant::now()).as_millis());
        pool.alone_until.set(Some(Instant::now()));
        assert!(!pool.is_unreliable(), "the time is over");
    }
    for (milliseconds, wanted) in alone.iter().zip([10, 40, 160, 500, 500]) {
        assert!((wanted - 8..=wanted).contains(milliseconds), "{alone:?}");
    }
    pool.together_since.set(ago(Duration::from_millis(100)));
    pool.lost_a_worker(Duration::from_millis(4));
    assert!(!pool.is_unreliable(), "once in a while does no harm");
    assert_eq!(pool.alone_for.get(), ALONE);
}

#[test]
fn a_worker_that_keeps_the_caller_waiting_is_left_out_for_a_while() {
    let team = Team::exactly(2);
    let caller = std::thread::current().id();
    let helped = |nap: Duration| {
        let tiles = AtomicUsize::new(0);
        team.run(64, 1, |_| {
            if std::thread::current().id() == caller {
                std::thread::sleep(Duration::from_micros(100));
            } else if tiles.fetch_add(1, Ordering::Relaxed) == 0 {
                std::thread::sleep(nap);
            }
        });
        tiles.into_inner() > 0
    };
    let begun = Instant::now();
    // A worker that sleeps is woken by as much work as this.
    while !helped(Duration::ZERO) {
        team.run(2, WORTH_WAKING, |_| ());
        assert!(begun.elapsed() < Duration::from_secs(20), "no worker came");
    }
    while helped(Duration::from_millis(30)) {
        assert!(begun.elapsed() < Duration::from_secs(20), "it was never left out");
    }
    std::thread::sleep(LONGEST_ALONE);
    while !helped(Duration::ZERO) {
        team.run(2, WORTH_WAKING, |_| ());
        assert!(begun.elapsed() < Duration::from_secs(20), "it never came back");
    }
}

#[test]
fn a_worker_beyond_the_team_claims_nothing() {
    let pool = Pool::new();
    pool.shared.state.store((7 << 32) | 5, Ordering::SeqCst);
    pool.shared.allowed.store(1, Ordering::SeqCst);
    assert_eq!([2, 1].map(|number| pool.shared.claim(Some(number))), [None, None]);
    assert_eq!(pool.shared.claim(Some(0)), Some(4), "from the end");
    assert_eq!(pool.shared.claim(None), Some(0), "from the front");
    pool.shared.allowed.store(2, Ordering::SeqCst);
    assert_eq!(pool.shared.claim(Some(1)), Some(3));
    assert_eq!([pool.shared.claim(None), pool.shared.claim(None)], [Some(1), Some(2)]);
    assert_eq!([pool.shared.claim(None), pool.shared.claim(Some(0))], [None, None], "none is left");
}

#[test]
fn who_comes_late_from_a_larger_team_takes_no_part_of_a_smaller_one() {
    // Workers of four threads are still looking for work when the job of two begins.
    let strangers = AtomicUsize::new(0);
    for _ in 0..2000 {
        Team::exactly(4).run(16, u64::MAX, |_| std::hint::spin_loop());
        let (team, caller) = (Team::exactly(2), std::thread::current().id());
        team.run(64, u64::MAX, |_| {
            let thread = std::thread::current();
            if thread.id() != caller && thread.name() != Some("dnn-0") {
                strangers.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    assert_eq!(strangers.into_inner(), 0);
}
