//! `region_subscribe`: snapshot, what enters, moves and leaves, panning, and what is refused.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use crate::support::{Gateway, RedisServer, Viewer, World, eventually, now_ms};

/// A dashboard's map of one region.
#[derive(Default)]
struct Map(BTreeMap<String, Value>);

impl Map {
    /// Takes over a whole snapshot.
    async fn snapshot(&mut self, viewer: &mut Viewer) -> &mut Self {
        self.0.clear();
        for part in 1.. {
            let event = viewer.event("region_snapshot").await;
            assert_eq!(event["part"], part, "{event}");
            for asset in event["assets"].as_array().unwrap() {
                self.0.insert(asset["id"].as_str().unwrap().to_owned(), asset.clone());
            }
            if event["parts"] == part {
                break;
            }
        }
        self
    }

    /// Takes deltas over until the map holds exactly these assets.
    async fn until(&mut self, viewer: &mut Viewer, assets: &[&str]) -> Value {
        loop {
            let event = viewer.event("region_updates").await;
            self.apply(&event);
            if self.names() == assets {
                return event;
            }
        }
    }

    /// Takes whatever comes over.
    async fn next(&mut self, viewer: &mut Viewer) {
        let packet = viewer.packet().await.expect("the connection lives");
        let (name, event): (String, Value) = serde_json::from_str(&packet[2..]).unwrap();
        match name.as_str() {
            "region_updates" => self.apply(&event),
            "resync" => _ = self.snapshot(viewer).await,
            other => panic!("unexpected {other}"),
        }
    }

    /// Whatever enters must not be there, and whatever moves or leaves must; nothing goes back in time.
    fn apply(&mut self, event: &Value) {
        for asset in event["entered"].as_array().unwrap() {
            assert!(self.0.insert(id(asset), asset.clone()).is_none(), "{asset} was there");
        }
        for asset in event["moved"].as_array().unwrap() {
            let known = self.0.insert(id(asset), asset.clone()).expect("what moves was there");
            assert!(known["ts"].as_i64() <= asset["ts"].as_i64(), "{known} was newer than {asset}");
        }
        for asset in event["left"].as_array().unwrap() {
            assert!(self.0.remove(&id(asset)).is_some(), "{asset} was not there");
        }
    }

    fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}

fn id(asset: &Value) -> String {
    asset["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_region_has_what_is_in_it_and_moves_with_the_map() {
    a_tour(World::new("regions", &[]).await).await;
}

#[tokio::test]
async fn a_region_has_what_replicas_published_and_listens_to_its_own_cells_only() {
    let redis = RedisServer::start().await;
    let world = World::over(Gateway::builder().redis(&redis), "regions-redis", &[]).await;
    let channels = async || redis.command::<Vec<String>>(&["PUBSUB", "CHANNELS", "fleetcast:cell:*"]).await;
    let mut viewer = Viewer::connect(world.gateway.addr(), "").await;
    viewer.request("region_subscribe", json!({"region": "city", "bbox": [13, 52, 14, 53]})).await;
    assert_eq!(channels().await, ["fleetcast:cell:6/34/50"]);
    viewer.tear_down();
    a_tour(world).await;
    eventually("no channel is left", async || channels().await.is_empty()).await;
}

#[tokio::test]
async fn a_replica_that_ingests_nothing_sees_its_regions_through_outages_of_redis() {
    let mut redis = RedisServer::start().await;
    let mut world = World::over(Gateway::builder().redis(&redis), "regions-outage", &[]).await;
    let other = World::over(Gateway::builder().redis(&redis), "regions-idle", &[]).await;
    world.place("f", "a", 13.4, 52.5).await;
    world.place("f", "b", 13.5, 52.5).await;
    world.applied(2.0).await;
    let mut viewer = Viewer::connect(other.gateway.addr(), "").await;
    let city = json!({"region": "city", "bbox": [13, 52, 14, 53], "interval_ms": 50});
    viewer.request("region_subscribe", city).await;
    let mut map = Map::default();
    assert_eq!(map.snapshot(&mut viewer).await.names(), ["a", "b"]);
    world.place("f", "b", 100.0, 0.0).await;
    map.until(&mut viewer, &["a"]).await;

    redis.restart().await;
    // What happened meanwhile is there, what left is gone, and the viewer is told why it gets it anew.
    world.place("f", "a", 100.0, 0.0).await;
    world.place("g", "c", 13.4, 52.6).await;
    let resync = viewer.event("resync").await;
    assert_eq!(resync, json!({"region": "city", "reason": "gap"}));
    map.snapshot(&mut viewer).await;
    while map.names() != ["c"] {
        map.next(&mut viewer).await;
    }
}

#[tokio::test]
async fn a_gateway_that_only_relays_has_regions_of_what_passes_by() {
    let mut redis = RedisServer::start().await;
    let gateway = Gateway::builder().redis(&redis).env("FLEETCAST_SOURCE", "redis").start().await;
    gateway.wait_ready().await;
    let place = async |redis: &RedisServer, fleet: &str, asset: &str, ts: u32, lon: f64| {
        let text =
            json!({"assetId": asset, "fleetId": fleet, "ts": 1_790_000_000 + ts, "lat": 1, "lon": lon});
        redis.command::<i64>(&["PUBLISH", &format!("updates:{fleet}"), &text.to_string()]).await
    };
    let patterns = async |redis: &RedisServer| redis.command::<i64>(&["PUBSUB", "NUMPAT"]).await;
    assert_eq!(patterns(&redis).await, 0, "nobody watches a region");

    let region = json!({"region": "r", "bbox": [0, 0, 10, 10], "interval_ms": 50});
    let (mut viewer, mut map) = (Viewer::connect(gateway.addr(), "").await, Map::default());
    assert_eq!(viewer.request("region_subscribe", region.clone()).await["ok"], true);
    assert!(map.snapshot(&mut viewer).await.names().is_empty());
    place(&redis, "f", "a", 1, 1.0).await;
    place(&redis, "g", "b", 1, 2.0).await;
    place(&redis, "g", "far", 1, 50.0).await;
    map.until(&mut viewer, &["a", "b"]).await;
    place(&redis, "g", "b", 0, 50.0).await;
    place(&redis, "f", "a", 2, 50.0).await;
    map.until(&mut viewer, &["b"]).await;

    let (mut second, mut its_map) = (Viewer::connect(gateway.addr(), "").await, Map::default());
    second.request("region_subscribe", region).await;
    assert_eq!(its_map.snapshot(&mut second).await.names(), ["b"], "what passed by before it came");

    redis.restart().await;
    eventually("it listens again", async || patterns(&redis).await == 1).await;
    place(&redis, "g", "c", 3, 4.0).await;
    for (viewer, map) in [(&mut viewer, &mut map), (&mut second, &mut its_map)] {
        while map.names() != ["b", "c"] {
            map.next(viewer).await;
        }
    }
    viewer.tear_down();
    second.tear_down();
    eventually("nothing is listened to for nobody", async || patterns(&redis).await == 0).await;
}

async fn a_tour(mut world: World) {
    world.place("f", "berlin", 13.4, 52.5).await;
    world.place("g", "hamburg", 10.0, 53.55).await;
    world.place("f", "tokyo", 139.7, 35.7).await;
    world.put("f", "nowhere", "").await;
    world.applied(4.0).await;

    let mut viewer = Viewer::connect(world.gateway.addr(), "").await;
    let north = json!({"region": "map", "bbox": [5, 50, 15, 55], "interval_ms": 50});
    let ack = viewer.request("region_subscribe", north).await;
    assert_eq!(ack, json!({"ok": true, "region": "map", "resumed": false}));
    let mut map = Map::default();
    assert_eq!(map.snapshot(&mut viewer).await.names(), ["berlin", "hamburg"]);
    assert_eq!(map.0["hamburg"]["fleet"], "g");
    assert_eq!((&map.0["berlin"]["lon"], &map.0["berlin"]["lat"]), (&json!(13.4), &json!(52.5)));

    // Exactly on the edge is inside; a partial update keeps the place.
    world.place("f", "tokyo", 15.0, 55.0).await;
    world.put("f", "berlin", r#","temp":-18.5"#).await;
    map.until(&mut viewer, &["berlin", "hamburg", "tokyo"]).await;
    world.place("f", "tokyo", 15.001, 55.0).await;
    map.until(&mut viewer, &["berlin", "hamburg"]).await;
    assert_eq!(map.0["berlin"]["data"]["temp"], -18.5);
    assert_eq!(map.0["berlin"]["lon"], 13.4);

    // Panning: only the difference, and cells that were never watched are loaded.
    let east = json!({"region": "map", "bbox": [12, 50, 20, 56], "interval_ms": 50});
    assert_eq!(viewer.request("region_subscribe", east).await["resumed"], true);
    let delta = map.until(&mut viewer, &["berlin", "tokyo"]).await;
    assert_eq!(delta["moved"], json!([]), "berlin has not moved: {delta}");
    let dateline = json!({"region": "map", "bbox": [130, 30, -170, 40], "interval_ms": 50});
    viewer.request("region_subscribe", dateline).await;
    map.until(&mut viewer, &[]).await;
    world.place("f", "tokyo", 179.9, 35.0).await;
    world.place("f", "berlin", -179.9, 35.0).await;
    map.until(&mut viewer, &["berlin", "tokyo"]).await;

    // A filter by fleet, a second region beside the first, and its end.
    let g = json!({"region": "g", "bbox": [-180, -90, 180, 90], "fleets": ["g"], "interval_ms": 50});
    viewer.request("region_subscribe", g).await;
    assert_eq!(Map::default().snapshot(&mut viewer).await.names(), ["hamburg"]);
    for region in ["g", "map"] {
        let ack = viewer.request("region_unsubscribe", json!({"region": region})).await;
        assert_eq!(ack, json!({"ok": true}));
    }
    world.place("g", "hamburg", 179.0, 35.0).await;
    viewer.assert_silent(Duration::from_millis(400)).await;

    viewer.tear_down();
    let quiet = || async { world.gateway.metric("fleetcast_regions").await == 0.0 };
    eventually("no region is left", quiet).await;
    let empty = || async { world.gateway.metric("fleetcast_region_assets").await == 0.0 };
    eventually("no asset is kept for regions", empty).await;
}

#[tokio::test]
async fn a_large_region_comes_in_parts_and_a_viewer_that_paused_gets_the_newest() {
    let mut gateway = Gateway::builder().command("demo").arg("--assets").arg(20_000);
    gateway = gateway.env("FLEETCAST_VIEWER_QUEUE_BYTES", "65536");
    let gateway = gateway.start().await;
    let mut viewer = Viewer::connect(gateway.addr(), "").await;
    let every = || async { gateway.metric("fleetcast_updates_received_total").await >= 20_000.0 };
    eventually("every asset has spoken", every).await;
    let world = json!({"region": "world", "bbox": [-180, -90, 180, 90]});
    viewer.request("region_subscribe", world).await;
    let mut map = Map::default();
    assert_eq!(map.snapshot(&mut viewer).await.0.len(), 20_000);

    // More happens than its queue and the kernel's hold. What waits is no list of all that happened.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let reads_again_ms = now_ms();
    let queued = gateway.metric(r#"fleetcast_memory_bytes{class="queues"}"#).await;
    assert!(queued < 65_536.0 + 2.0 * 131_072.0, "{queued} bytes wait for one viewer");
    // Whatever the kernel still held: in the end the map is complete, and as new as the world.
    while map.0.values().any(|asset| asset["ts"].as_i64().unwrap() < reads_again_ms) {
        map.next(&mut viewer).await;
    }
    assert_eq!(map.0.len(), 20_000);
}

#[tokio::test]
async fn what_can_not_be_a_region_is_refused_by_name() {
    let world = World::new("no-regions", &[("FLEETCAST_MAX_SUBSCRIPTIONS", "2")]).await;
    let mut viewer = Viewer::connect(world.gateway.addr(), "").await;
    let ring: Vec<[f64; 2]> = (0..1001)
        .map(|n| f64::from(n) / 1001.0 * std::f64::consts::TAU)
        .map(|a| [a.cos(), a.sin()])
        .collect();
    for (request, code, why) in [
        (json!({"bbox": [0, 0, 1, 1]}), "bad_request", "missing field `region`"),
        (json!({"region": ""}), "bad_request", "region is empty"),
        (json!({"region": "r"}), "bad_request", "bbox, polygon, circle or geohash"),
        (json!({"region": "r", "bbox": [0, 0, 1, 91]}), "bad_request", "91"),
        (json!({"region": "r", "bbox": [0, 0, 1, null]}), "bad_request", "not a finite number"),
        (json!({"region": "r", "bbox": [0, 0, 0, 0]}), "bad_request", "no area"),
        (json!({"region": "r", "polygon": [[0, 0], [1, 1], [0, 1], [1, 0]]}), "bad_request", "crosses"),
        (json!({"region": "r", "polygon": ring}), "bad_request", "1001 vertices"),
        (json!({"region": "r", "circle": {"lon": 0, "lat": 0, "radius_m": -1}}), "bad_request", "radius_m"),
        (json!({"region": "r", "geohash": ["u33", "ail"]}), "bad_request", "geohash[1]"),
        (json!({"region": "r", "bbox": [0, 0, 1, 1], "interval_ms": 1}), "bad_request", "interval_ms"),
        (json!({"region": "r", "bbox": [0, 0, 1, 1], "fleets": ["a#"]}), "bad_request", "fleets[0]"),
    ] {
        let ack = viewer.request("region_subscribe", request.clone()).await;
        assert_eq!((&ack["ok"], &ack["error"]["code"]), (&json!(false), &json!(code)), "{request}: {ack}");
        assert!(ack["error"]["message"].as_str().unwrap().contains(why), "{request}: {ack}");
    }
    for region in ["a", "b"] {
        let request = json!({"region": region, "geohash": ["u33"]});
        assert_eq!(viewer.request("region_subscribe", request).await["ok"], true);
    }
    let request = json!({"region": "c", "geohash": ["u33"]});
    assert_eq!(viewer.request("region_subscribe", request).await["error"]["code"], "too_many");

    // A hundred moves at once: some are refused, and none costs the connection.
    let mut refused = 0;
    for n in 0..100 {
        let request = json!({"region": "a", "bbox": [0, 0, 1 + n, 1]});
        refused += u32::from(viewer.request("region_subscribe", request).await["ok"] == false);
    }
    assert!((20..100).contains(&refused), "{refused}");
}

#[tokio::test]
async fn what_costs_the_replica_much_is_bounded_per_viewer() {
    let world = World::new("greedy", &[]).await;
    let mut viewer = Viewer::connect(world.gateway.addr(), "").await;
    let whole = |name: &str| json!({"region": name, "bbox": [-180, -90, 180, 90]});
    for name in ["a", "b", "c", "d"] {
        assert_eq!(viewer.request("region_subscribe", whole(name)).await["ok"], true);
    }
    let one_more = viewer.request("region_subscribe", whole("e")).await;
    assert_eq!(one_more["error"]["code"], "too_many", "{one_more}");
    let moved = viewer.request("region_subscribe", json!({"region": "a", "geohash": ["u33"]})).await;
    assert_eq!((&moved["ok"], &moved["resumed"]), (&json!(true), &json!(true)), "{moved}");
    let smaller = viewer.request("region_subscribe", json!({"region": "e", "geohash": ["u33"]})).await;
    assert_eq!(smaller["ok"], true, "{smaller}");

    let mut refused = 0;
    for _ in 0..100 {
        let answer = viewer.request("fleets", json!({})).await;
        refused += u32::from(answer["error"]["code"] == "too_many");
    }
    assert!((40..100).contains(&refused), "{refused} of 100 at once");
    assert_eq!(
        Viewer::connect(world.gateway.addr(), "").await.request("fleets", json!({})).await["ok"],
        true
    );
}

#[tokio::test]
async fn tracks_and_fleets_are_answered_on_request() {
    let mut world = World::new("tracks", &[]).await;
    for n in 0..30 {
        world.ts += 10_000;
        world.place("f", "a", f64::from(n) / 10.0, 50.0).await;
    }
    world.place("g", "b", 1.0, 1.0).await;
    world.applied(31.0).await;
    let mut viewer = Viewer::connect(world.gateway.addr(), "").await;
    let ack = viewer.request("fleets", json!({})).await;
    let list = json!([{"fleet": "f", "assets": 1}, {"fleet": "g", "assets": 1}]);
    assert_eq!(ack, json!({"ok": true, "fleets": list}));

    let ack = viewer.request("asset_history", json!({"asset": "a"})).await;
    let track = ack["track"].as_array().unwrap();
    assert_eq!((track.len(), &ack["fleet"]), (30, &json!("f")), "{ack}");
    assert_eq!((&track[29]["lon"], &track[29]["lat"]), (&json!(2.9), &json!(50.0)), "newest last");
    let from = track[20]["ts"].clone();
    let request = json!({"asset": "a", "fleet": "f", "from_ts": from, "limit": 3});
    let ack = viewer.request("asset_history", request).await;
    assert_eq!(ack["track"], json!(track[27..]));
    for nobody in [json!({"asset": "x"}), json!({"asset": "a", "fleet": "g"})] {
        assert_eq!(viewer.request("asset_history", nobody).await["track"], json!([]));
    }
    let ack = viewer.request("asset_history", json!({"asset": "a", "limit": 0})).await;
    assert_eq!(ack["error"]["code"], "bad_request", "{ack}");
}
