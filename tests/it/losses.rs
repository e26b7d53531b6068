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
