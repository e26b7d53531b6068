//! A shard by itself: memberships that overlap, fleets that are large, a store that is slow.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{
    Membership, Mode, Viewer,
    test_world::{Answers, World, event, fleet, settle, update, viewer},
};
use crate::transport::TestClient;

const EACH: Mode = Mode::Each { since: None };
const LATEST: Mode = Mode::Latest { interval: Duration::from_millis(50), since: None };
const ROOMY: usize = 1024 * 1024;

#[tokio::test(start_paused = true)]
async fn the_late_end_of_an_earlier_membership_does_not_end_a_later_one() {
    let (world, f) = (World::new(ROOMY), fleet("f"));
    let (client, viewer) = viewer(ROOMY);
    let earlier = world.join(&f, &viewer, Mode::Legacy).await;
    let later = world.join(&f, &viewer, EACH).await;
    settle().await;
    client.take_all();
    drop(earlier);
    settle().await;
    world.dispatch(&f, vec![update(&f, "a", 1, 0)]).await;
    settle().await;
    assert_eq!(client.take_all().len(), 1, "once, by the later membership");
    drop(later);
    settle().await;
    world.dispatch(&f, vec![update(&f, "a", 2, 0)]).await;
    settle().await;
    assert!(client.take_all().is_empty());
    assert_eq!((world.metrics.memberships.get(), world.metrics.watched_fleets.get()), (0, 0));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_membership_that_can_not_begin_leaves_the_earlier_one_as_it_was() {
    let (world, f) = (World::new(ROOMY), fleet("f"));
    let (client, viewer) = viewer(ROOMY);
    let _earlier = world.join(&f, &viewer, Mode::Legacy).await;
    let failing = Answers { fail: true, ..Answers::default() };
    let late = Answers { wait: [Duration::ZERO, Duration::from_secs(3)], ..Answers::default() };
    for (n, answers) in [(1, failing), (2, late)] {
        *world.answers.lock().unwrap() = answers;
        let refused = world.membership(&f, &viewer);
        assert!(refused.join(EACH, Duration::from_secs(2)).await.is_none());
        tokio::time::sleep(Duration::from_secs(5)).await; // The late answer is here by now.
        drop(refused);
        settle().await;
        world.dispatch(&f, vec![update(&f, "a", n, 0)]).await;
        settle().await;
        assert_eq!(client.take_all().len(), 1, "answer {n}: the earlier membership goes on");
    }
    assert_eq!(world.metrics.memberships.get(), 1);
    world.end().await;
}

async fn crowd(world: &World, name: &str, count: usize, mode: &Mode) -> Vec<(TestClient, Membership)> {
    let mut members = Vec::new();
    for _ in 0..count {
        let (client, viewer) = viewer(ROOMY);
        members.push((client, world.join(&fleet(name), &viewer, mode.clone()).await));
    }
    settle().await;
    members
}

/// How many of the crowd have something when the lonely viewer of another fleet has its message.
async fn served_before(crowd: &[(TestClient, Membership)], lonely: &TestClient) -> usize {
    for _ in 0..100_000 {
        if !lonely.take_all().is_empty() {
            return crowd.iter().filter(|(client, _)| !client.take_all().is_empty()).count();
        }
        tokio::task::yield_now().await;
    }
    panic!("the lonely viewer was forgotten");
}

#[tokio::test(start_paused = true)]
async fn a_fleet_of_twenty_thousand_keeps_no_other_fleet_waiting() {
    let (world, large, small) = (World::new(ROOMY), fleet("large"), fleet("small"));
    let (lonely, viewer) = viewer(ROOMY);
    let _lonely = world.join(&small, &viewer, Mode::Legacy).await;
    for (n, mode) in [(1, Mode::Legacy), (2, LATEST), (3, EACH)] {
        let crowd = crowd(&world, "large", 20_000, &mode).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        crowd.iter().for_each(|(client, _)| drop(client.take_all()));
        if mode == EACH {
            world.dispatcher.gap(large.clone()).await;
        } else {
            world.dispatch(&large, vec![update(&large, "a", n, 0)]).await;
        }
        if mode != Mode::Legacy {
            tokio::time::advance(Duration::from_millis(60)).await; // A tick is due, and the events are.
            while crowd.iter().all(|(client, _)| client.session.backlog_bytes() == 0) {
                tokio::task::yield_now().await;
            }
        }
        world.dispatch(&small, vec![update(&small, "a", n, 0)]).await;
        let served = served_before(&crowd, &lonely).await;
        assert!((1..1000).contains(&served), "{mode:?}: {served} of 20,000 came before it");
        tokio::time::sleep(Duration::from_secs(1)).await;
        let served = served + crowd.iter().filter(|(client, _)| !client.take_all().is_empty()).count();
        assert!(served >= 20_000, "{mode:?}: {served}: all are served in the end");
        drop(crowd);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(world.metrics.memberships.get(), 1);
    }
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_join_and_a_leave_cost_the_same_however_many_are_there() {
    let world = World::new(ROOMY);
    let viewers: Vec<_> = (0..20_000).map(|_| viewer(ROOMY)).collect();
    let join = async |some: &[(TestClient, Viewer)]| {
        let begun = std::time::Instant::now();
        let mut members = Vec::new();
        for (_, viewer) in some {
            members.push(world.join(&fleet("f"), viewer, Mode::Legacy).await);
        }
        (begun.elapsed(), members)
    };
    let (first, few) = join(&viewers[..1000]).await;
    let (_, many) = join(&viewers[1000..19_000]).await;
    let (last, rest) = join(&viewers[19_000..]).await;
    // 1,000 joins that each look at 19,000 members take many times as long as their neighbours.
    assert!(last < first * 8 + Duration::from_millis(20), "{first:?} at the beginning, {last:?} at the end");
    let left = async |some: Vec<Membership>| {
        let begun = std::time::Instant::now();
        drop(some);
        settle().await;
        begun.elapsed()
    };
    let (last, _, first) = (left(rest).await, left(many).await, left(few).await);
    assert!(last < first * 8 + Duration::from_millis(20), "{first:?} at the end, {last:?} at the beginning");
    assert_eq!(world.metrics.watched_fleets.get(), 0);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn large_conflated_updates_stay_within_the_viewers_queue() {
    const QUEUE: usize = 64 * 1024;
    let (world, f) = (World::new(QUEUE / 2), fleet("f"));
    let (client, viewer) = viewer(QUEUE);
    let _member = world.join(&f, &viewer, LATEST).await;
    settle().await;
    client.take_all();
    for n in 1..=3 {
        let updates = (0..200).map(|asset| update(&f, &format!("a{asset}"), n, 4000)).collect();
        world.dispatch(&f, updates).await;
    }
    let mut seen = std::collections::HashMap::new();
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let backlog = client.session.backlog_bytes();
        assert!(backlog <= QUEUE, "{backlog} bytes wait");
        for text in client.take_all() {
            let (name, data) = event(&text);
            assert_eq!(name, "fleet_updates");
            for asset in data["assets"].as_array().unwrap() {
                let known = seen.insert(asset["id"].to_string(), asset["data"]["n"].as_i64().unwrap());
                assert_eq!(known, None, "each changed asset once");
            }
        }
    }
    assert!(seen.len() == 200 && seen.values().all(|n| *n == 3), "{seen:?}");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_joins_over_a_thousand_fleets_is_no_storm_of_reads() {
    let world = Arc::new(World::new(ROOMY));
    *world.answers.lock().unwrap() = Answers { wait: [Duration::from_millis(10); 2], ..Answers::default() };
    let mut joins = tokio::task::JoinSet::new();
    for index in 0..1000 {
        let world = world.clone();
        joins.spawn(async move {
            let (client, viewer) = viewer(ROOMY);
            (world.join(&fleet(&format!("f{index}")), &viewer, EACH).await, client)
        });
    }
    assert_eq!(joins.join_all().await.len(), 1000, "all are let in");
    let most = world.reading[1].load(Ordering::SeqCst);
    assert!((2..=super::LOADS_MAX).contains(&most), "{most} reads at once");
    Arc::into_inner(world).unwrap().end().await;
}

#[tokio::test(start_paused = true)]
async fn a_read_that_never_ends_is_given_up() {
    let (world, f) = (World::new(ROOMY), fleet("f"));
    let (_client, viewer) = viewer(ROOMY);
    *world.answers.lock().unwrap() =
        Answers { wait: [Duration::from_secs(3600), Duration::ZERO], ..Answers::default() };
    let stuck = world.membership(&f, &viewer);
    assert!(stuck.join(EACH, Duration::from_secs(60)).await.is_none());
    *world.answers.lock().unwrap() = Answers::default();
    assert!(stuck.join(EACH, Duration::from_secs(60)).await.is_some());
    drop(stuck);
    settle().await;
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn who_only_follows_is_told_what_was_lost_first_and_not_what_was_there_before() {
    let (world, quiet, new, failing) = (World::new(ROOMY), fleet("quiet"), fleet("new"), fleet("failing"));
    for fleet in [&quiet, &failing] {
        drop(world.apply(fleet, vec![update(fleet, "a", 1, 0), update(fleet, "b", 1, 0)]));
    }
    let follow = async |fleet| {
        let (client, viewer) = viewer(ROOMY);
        let membership = world.join(fleet, &viewer, Mode::Legacy).await;
        settle().await;
        (client, membership)
    };
    let (of_quiet, _quiet) = follow(&quiet).await;
    let (of_new, _new) = follow(&new).await;
    *world.answers.lock().unwrap() = Answers { fail: true, ..Answers::default() };
    let (of_failing, _failing) = follow(&failing).await;
    *world.answers.lock().unwrap() = Answers::default();
    let clients = [&of_quiet, &of_new, &of_failing];
    for _ in 0..3 {
        world.audit().await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(clients.iter().all(|client| client.take_all().is_empty()), "nothing has happened");
    assert_eq!(world.metrics.feed_silent_losses.get(), 0);

    for fleet in [&quiet, &new, &failing] {
        drop(world.apply(fleet, vec![update(fleet, "c", 7, 0)]));
    }
    world.audit().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    for client in clients {
        let told = client.take_all();
        assert!(told.iter().any(|text| text.contains(r#"\"n\":7"#)), "{told:?}");
    }
    assert_eq!(world.metrics.feed_silent_losses.get(), 3);

    // The second of a fleet that nobody had heard of, without its first.
    let (newest, fleet) = (World::new(ROOMY), fleet("newest"));
    let (client, viewer) = viewer(ROOMY);
    let _member = newest.join(&fleet, &viewer, Mode::Legacy).await;
    settle().await;
    drop(newest.apply(&fleet, vec![update(&fleet, "lost", 1, 0)]));
    newest.dispatch(&fleet, vec![update(&fleet, "b", 1, 0)]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let told = client.take_all();
    assert!(told.iter().any(|text| text.contains("lost")), "{told:?}");
    newest.end().await;
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_cursor_that_was_unknown_when_the_viewer_came_is_not_known_when_its_snapshot_begins() {
    let (world, f) = (World::new(ROOMY), fleet("f"));
    let (_others, other) = viewer(ROOMY);
    let _keeper = world.join(&f, &other, LATEST).await;
    world.dispatch(&f, vec![update(&f, "a", 1, 0), update(&f, "b", 1, 0)]).await;
    settle().await;
    // Of a replica that has heard of the next update already.
    let (batches, epoch) = world.apply(&f, vec![update(&f, "b", 2, 0)]);
    let since = Some(format!("{epoch}.3"));
    let (client, viewer) = viewer(ROOMY);
    let membership = world.membership(&f, &viewer);
    let mode = Mode::Latest { interval: Duration::from_millis(50), since };
    let joined = membership.join(mode, Duration::from_secs(1)).await.unwrap();
    assert!(!joined.resumed);
    for batch in batches {
        world.dispatcher.dispatch(batch, Some(epoch)).await;
    }
    settle().await;
    membership.open().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (name, body) = event(&client.take_all()[0]);
    assert_eq!((name.as_str(), body["assets"].as_array().unwrap().len()), ("fleet_snapshot", 2), "{body}");
    drop(membership);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_under_way_serves_who_came_before_it_and_nobody_who_came_later() {
    let (world, f) = (World::new(ROOMY), fleet("f"));
    world.dispatch(&f, (0..50).map(|asset| update(&f, &format!("a{asset}"), 1, 600)).collect()).await;
    // It takes one part at a time.
    let (_slow, slow) = viewer(4_000);
    let _slow = world.join(&f, &slow, LATEST).await;
    let (before, viewer_before) = viewer(ROOMY);
    let early = world.membership(&f, &viewer_before);
    assert!(early.join(LATEST, Duration::from_secs(1)).await.is_some());
    settle().await;
    world.dispatch(&f, vec![update(&f, "a7", 2, 600)]).await;
    settle().await;
    early.open().await;
    let (after, viewer_after) = viewer(ROOMY);
    let _late = world.join(&f, &viewer_after, LATEST).await;
    tokio::time::sleep(Duration::from_millis(200)).await;

    let told = |client: &TestClient| -> Vec<(String, String, usize)> {
        let brief = |text: &String| {
            let (name, body) = event(text);
            let number = body["cursor"].as_str().unwrap().rsplit_once('.').unwrap().1.to_owned();
            (name, number, body["assets"].as_array().unwrap().len())
        };
        client.take_all().iter().map(brief).collect()
    };
    let (mut early, late) = (told(&before), told(&after));
    assert_eq!(early.pop(), Some(("fleet_updates".to_owned(), "51".to_owned(), 1)), "what changed since");
    for (parts, number) in [(early, "50"), (late, "51")] {
        assert!(
            parts.iter().all(|(name, cursor, _)| name == "fleet_snapshot" && cursor == number),
            "{parts:?}"
        );
        assert_eq!(parts.iter().map(|(.., assets)| assets).sum::<usize>(), 50);
    }
    world.end().await;
}
