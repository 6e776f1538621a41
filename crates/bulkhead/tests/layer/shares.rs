//! Places that tenants share: guarantees, borrowing and giving back.

use std::{convert::Infallible, future::pending};

use seawall_bulkhead::{Order, Shares};
use seawall_core::{CallContext, VirtualClock};

use super::{Held, QueueingLayer, begin, ordered, poll};

const BUSY: u64 = 1;
const CALM: u64 = 2;

fn sharing(limit: usize, shares: Shares) -> QueueingLayer<VirtualClock> {
    ordered(limit, 1_000, Order::ByShare(shares), VirtualClock::new())
}

fn of(tenant: u64) -> CallContext {
    CallContext::new().with_tenant(tenant)
}

fn calls(layer: &QueueingLayer<VirtualClock>, tenant: u64, count: usize) -> Vec<Held<VirtualClock>> {
    (0..count).map(|_| begin(layer, of(tenant))).collect()
}

/// How much each tenant holds.
fn held<const N: usize>(layer: &QueueingLayer<VirtualClock>, tenants: [u64; N]) -> [u32; N] {
    tenants.map(|tenant| layer.gate().in_flight_of(tenant).expect("there are shares"))
}

/// Ends the first call of those that hold a place, and begins another of the same tenant: one that never has enough.
fn turns_over(layer: &QueueingLayer<VirtualClock>, calls: &mut Vec<Held<VirtualClock>>, tenant: u64) {
    drop(calls.remove(0));
    calls.push(begin(layer, of(tenant)));
    for call in calls {
        assert!(poll(call).is_pending());
    }
}

#[test]
fn a_tenant_may_use_what_others_leave_idle() {
    let layer = sharing(10, Shares::fixed([(BUSY, 0.5), (CALM, 0.3)]).unwrap());

    let _busy = calls(&layer, BUSY, 10);

    assert_eq!(held(&layer, [BUSY, CALM, 7]), [10, 0, 0]);
}

#[test]
fn a_call_that_never_fits_leaves_its_tenants_count_alone() {
    for shares in [Shares::equal(), Shares::fixed([(BUSY, 0.5), (CALM, 0.3)]).unwrap()] {
        let layer = sharing(10, shares);
        let _holds = calls(&layer, BUSY, 3);
        let heavy = || Box::pin(layer.run_with(of(BUSY).with_cost(u32::MAX), pending::<Result<(), Infallible>>()));

        let during = std::thread::scope(|scope| {
            let refusals = scope.spawn(|| (0..2_000).for_each(|_| assert!(poll(&mut heavy()).is_ready())));
            let mut seen = Vec::new();
            while !refusals.is_finished() {
                seen.push(held(&layer, [BUSY, CALM]));
            }
            seen
        });

        assert!(during.iter().all(|held| *held == [3, 0]), "{:?}", during.iter().find(|held| **held != [3, 0]));
    }
}

#[test]
fn borrowers_that_hang_leave_what_is_kept_to_those_who_ask_for_their_share() {
    let shares = Shares::fixed([(BUSY, 0.5), (CALM, 0.3)]).and_then(|shares| shares.with_kept(0.2)).unwrap();
    let layer = sharing(10, shares);

    let mut hanging = calls(&layer, BUSY, 30);
    let unnamed = calls(&layer, 7, 1);
    assert_eq!(held(&layer, [BUSY, CALM, 7]), [8, 0, 1], "what is kept is open to whoever has less than its share");
    let calm = calls(&layer, CALM, 4);
    assert_eq!(held(&layer, [BUSY, CALM, 7]), [8, 1, 1], "there are no more than ten");

    // What comes free goes to those within their shares, down to the last place.
    drop((unnamed, hanging.remove(0)));
    assert_eq!(held(&layer, [BUSY, CALM, 7]), [7, 3, 0]);
    drop(calm);
    assert_eq!(held(&layer, [BUSY, CALM, 7]), [8, 0, 0], "what is lent is lent again");
}

#[test]
fn a_call_that_weighs_more_than_is_lent_goes_when_no_other_is_under_way() {
    let shares = Shares::fixed([(BUSY, 0.5), (CALM, 0.5)]).and_then(|shares| shares.with_kept(0.4)).unwrap();
    let layer = sharing(10, shares);
    let calm = calls(&layer, CALM, 1);

    let heavy = begin(&layer, of(BUSY).with_cost(9));
    assert_eq!(held(&layer, [BUSY, CALM]), [0, 1]);
    drop(calm);

    assert_eq!(held(&layer, [BUSY, CALM]), [9, 0]);
    drop(heavy);
    let _own = begin(&layer, of(BUSY).with_cost(5));
    let _calm = begin(&layer, of(CALM).with_cost(5));
    assert_eq!(held(&layer, [BUSY, CALM]), [5, 5], "within their shares they find all places");
}

#[test]
fn what_was_borrowed_goes_back_to_whoever_asks_for_its_share() {
    let layer = sharing(10, Shares::fixed([(BUSY, 0.5), (CALM, 0.3)]).unwrap());
    let mut busy = calls(&layer, BUSY, 30);
    let _calm = calls(&layer, CALM, 10);
    let _unnamed = calls(&layer, 7, 10);
    assert_eq!(held(&layer, [BUSY, CALM, 7]), [10, 0, 0]);

    for ended in 1..=5_u32 {
        turns_over(&layer, &mut busy, BUSY);
        let [busy, calm, unnamed] = held(&layer, [BUSY, CALM, 7]);
        assert_eq!((busy, calm + unnamed), (10 - ended, ended), "each place that comes free goes to who lacks it");
    }

    assert_eq!(held(&layer, [BUSY, CALM, 7]), [5, 3, 2], "each has its share");
    for _ in 0..20 {
        turns_over(&layer, &mut busy, BUSY);
        assert_eq!(held(&layer, [BUSY, CALM, 7]), [5, 3, 2], "and keeps it");
    }
}

#[test]
fn what_a_tenant_does_not_need_is_divided_in_proportion_among_those_who_wait() {
    let layer = sharing(12, Shares::fixed([(1, 0.2), (2, 0.1), (3, 0.7)]).unwrap());
    let first = calls(&layer, 3, 12);
    let _one = calls(&layer, 1, 20);
    let _two = calls(&layer, 2, 20);

    drop(first);

    assert_eq!(held(&layer, [1, 2, 3]), [8, 4, 0]);
}

#[test]
fn active_tenants_have_equal_parts_whatever_one_of_them_asks_for() {
    let layer = sharing(12, Shares::equal());
    let mut busy = calls(&layer, BUSY, 100);
    let _two = calls(&layer, 2, 4);
    let _three = calls(&layer, 3, 50);

    for _ in 0..8 {
        turns_over(&layer, &mut busy, BUSY);
    }

    assert_eq!(held(&layer, [BUSY, 2, 3]), [4, 4, 4]);
    let _four = calls(&layer, 4, 50);
    for _ in 0..12 {
        turns_over(&layer, &mut busy, BUSY);
    }
    let [busy, two, three, four] = held(&layer, [BUSY, 2, 3, 4]);
    assert_eq!((two, three), (4, 4), "those calls have not ended");
    assert!(busy + four == 4 && busy.abs_diff(four) <= 1, "{busy} and {four}");
}

#[test]
fn a_tenant_that_leaves_gives_its_part_to_the_others() {
    let layer = sharing(12, Shares::equal());
    let one = calls(&layer, 1, 100);
    let mut two = calls(&layer, 2, 100);

    drop(one);

    assert_eq!(held(&layer, [1, 2]), [0, 12]);
    two.clear();
    assert_eq!(held(&layer, [1, 2]), [0, 0]);
}

#[test]
fn a_tenant_that_floods_the_queue_makes_room_for_the_others() {
    let layer = ordered(1, 10, Order::ByShare(Shares::equal()), VirtualClock::new());
    let inside = calls(&layer, BUSY, 1);
    let mut flood = calls(&layer, BUSY, 10);

    let calm = calls(&layer, CALM, 5);

    let refused = flood.iter_mut().rev().map_while(|call| poll(call).is_ready().then_some(())).count();
    assert_eq!((refused, layer.gate().queued()), (5, 10), "the newest of the flood are gone");
    drop((inside, calm));
}

#[test]
fn a_tenant_without_a_share_gets_what_nobody_else_wants() {
    let layer = sharing(2, Shares::fixed([(BUSY, 0.5), (CALM, 0.5)]).unwrap());
    let busy = calls(&layer, BUSY, 2);
    let unnamed = calls(&layer, 7, 3);
    let calm = calls(&layer, CALM, 3);

    drop(busy);

    assert_eq!(held(&layer, [BUSY, CALM, 7]), [0, 2, 0]);
    drop(calm);
    assert_eq!(held(&layer, [BUSY, CALM, 7]), [0, 0, 2]);
    drop(unnamed);
}

#[test]
fn dropping_at_any_point_leaves_no_count_behind() {
    for shares in [Shares::equal(), Shares::fixed([(1, 0.2), (2, 0.5)]).unwrap()] {
        let layer = sharing(3, shares);
        let mut random = 88_172_645_463_325_252_u64;
        let mut live = Vec::new();

        for _ in 0..50_000 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            match random % 4 {
                0 | 1 if live.len() < 20 => live.push(begin(&layer, of(random >> 8 & 7))),
                2 => live.retain_mut(|call| poll(call).is_pending()),
                _ if !live.is_empty() => drop(live.swap_remove(usize::try_from(random >> 32).unwrap() % live.len())),
                _ => {}
            }
            assert!(layer.gate().in_flight() <= 3);
        }
        drop(live);

        assert_eq!((layer.gate().in_flight(), layer.gate().queued()), (0, 0));
        assert!((0..8).all(|tenant| layer.gate().in_flight_of(tenant) == Some(0)));
    }
}
