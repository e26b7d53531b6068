//! Updates that were lost on their way without a trace.

use serde_json::json;

use crate::support::{Gateway, RedisServer, Viewer, World, eventually};

#[tokio::test]
async fn the_last_update_before_a_silence_is_found_though_its_message_was_lost() {
    let redis = RedisServer::start().await;
    let mut world = World::over(Gateway::builder().redis(&redis), "losses", &[]).await;
    world.place("f", "a", 1.0, 1.0).await;
    world.applied(1.0).await;
    let mut viewer = Viewer::connect(world.gateway.addr(), "fleetId=g").await;
    viewer.request("fleet_subscribe", json!({"fleet": "f"})).await;
    let before = viewer.event("fleet_snapshot").await["assets"][0].clone();

    // As the script of another replica would, but for the publication: Redis Cluster lost that.
    let newest = world.ts + 1;
    let lose = "local text = redis.call('HGET', KEYS[1], 'a')
        text = text:gsub('\"ts\":%d+,\"seq\":%d+', '\"ts\":' .. ARGV[1] .. ',\"seq\":2')
        redis.call('HSET', KEYS[1], 'a', text)
        return redis.call('INCR', KEYS[2])";
    let (state, seq) = ("fleetcast:{f}:state", "fleetcast:{f}:seq");
    let seq: i64 = redis.command(&["EVAL", lose, "2", state, seq, &newest.to_string()]).await;
    assert_eq!(seq, 2);

    let resync = viewer.event("resync").await;
    assert_eq!(resync, json!({"fleet": "f", "reason": "gap"}));
    let after = viewer.event("fleet_snapshot").await["assets"][0].clone();
    assert_eq!((&before["ts"], &after["ts"]), (&json!(world.ts), &json!(newest)));
    let found = async || world.gateway.metric("fleetcast_feed_silent_losses_total").await == 1.0;
    eventually("it is counted, and found once", found).await;
}

#[tokio::test]
async fn numbers_that_a_server_gives_out_a_second_time_are_found_and_end_its_epoch() {
    let redis = RedisServer::start().await;
    let mut world = World::over(Gateway::builder().redis(&redis), "repeated-numbers", &[]).await;
    for lon in 1..=3 {
        world.place("f", "a", f64::from(lon), 1.0).await;
    }
    world.applied(3.0).await;
    let mut viewer = Viewer::connect(world.gateway.addr(), "").await;
    viewer.request("fleet_subscribe", json!({"fleet": "f"})).await;
    let cursor = viewer.event("fleet_snapshot").await["cursor"].as_str().unwrap().to_owned();
    assert!(cursor.ends_with(".3"), "{cursor}");

    // A lagging server took over, and a writer that had never heard of the fleet went on from its number.
    let newest = world.ts + 1;
    let repeat = "local text = redis.call('HGET', KEYS[1], 'a')
        text = text:gsub('\"ts\":%d+,\"seq\":%d+', '\"ts\":' .. ARGV[1] .. ',\"seq\":2')
        redis.call('HSET', KEYS[1], 'a', text)
        redis.call('ZADD', KEYS[3], 2, 'a')
        return redis.call('SET', KEYS[2], 2)";
    let (state, seq, changes) = ("fleetcast:{f}:state", "fleetcast:{f}:seq", "fleetcast:{f}:changes");
    redis.command::<()>(&["EVAL", repeat, "3", state, seq, changes, &newest.to_string()]).await;

    assert_eq!(viewer.event("resync").await, json!({"fleet": "f", "reason": "failover"}));
    let after = viewer.event("fleet_snapshot").await;
    assert_eq!(after["assets"][0]["ts"], newest);
    let began_anew = after["cursor"].as_str().unwrap();
    assert!(began_anew.ends_with(".3") && began_anew != cursor, "{began_anew} after {cursor}");
    let ack = viewer.request("fleet_subscribe", json!({"fleet": "f", "since": cursor})).await;
    assert_eq!(ack["resumed"], false, "{ack}");
    viewer.event("fleet_snapshot").await;

    world.ts = newest;
    world.place("f", "a", 5.0, 1.0).await;
    assert_eq!(viewer.event("fleet_updates").await["assets"][0]["lon"], 5.0);
}
