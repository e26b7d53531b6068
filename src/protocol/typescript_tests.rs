//! The TypeScript types of the client, made from the Rust ones: this fails when they differ, and `make bless`
//! writes them anew.

use std::{fs, path::PathBuf};

use ts_rs::{Config, TS};

use super::*;

/// A region's shape: one of four.
#[derive(TS)]
#[ts(untagged)]
#[expect(dead_code, reason = "only its declaration is of use; `region::ShapeSpec` reads all four")]
enum Shape {
    Bbox { bbox: Bbox },
    Polygon { polygon: Vec<[f64; 2]> },
    Circle { circle: Circle },
    Geohash { geohash: Vec<String> },
}

/// `[west, south, east, north]` in degrees; west > east crosses the antimeridian.
#[derive(TS)]
#[expect(dead_code, reason = "as above")]
struct Bbox(f64, f64, f64, f64);

/// What is within a distance along the ground.
#[derive(TS)]
#[expect(dead_code, reason = "as above")]
struct Circle {
    lon: f64,
    lat: f64,
    radius_m: f64,
}

const HEAD: &str = "\
// The events of the gateway that are not in the legacy contract, as types.
// Made from src/protocol/ by `make bless`; do not edit.
";

/// What TypeScript says better than a Rust type.
const TAIL: &str = "
export type RegionSubscribe = Shape & RegionMembers;

export type Ack<T = object> = ({ ok: true } & T) | { ok: false; error: ProtocolError };
";

fn declare<T: TS>(out: &mut String) {
    let config = Config::default();
    let docs = T::docs().unwrap_or_default();
    out.push('\n');
    out.push_str(&docs);
    out.push_str(&format!("export {}\n", T::decl(&config)));
}

#[test]
fn the_types_of_the_client_are_up_to_date() {
    let mut text = HEAD.to_owned();
    let declare_all: &[fn(&mut String)] = &[
        declare::<Asset>,
        declare::<AssetRef>,
        declare::<ErrorCode>,
        declare::<ProtocolError>,
        declare::<FleetMode>,
        declare::<FleetSubscribe>,
        declare::<FleetUnsubscribe>,
        declare::<FleetSubscribed>,
        declare::<Shape>,
        declare::<Bbox>,
        declare::<Circle>,
        declare::<RegionSubscribe>,
        declare::<RegionUnsubscribe>,
        declare::<RegionSubscribed>,
        declare::<AssetHistory>,
        declare::<Track>,
        declare::<TrackPoint>,
        declare::<Fleets>,
        declare::<FleetSummary>,
        declare::<AuthRefresh>,
        declare::<AuthRefreshed>,
        declare::<FleetSnapshot>,
        declare::<FleetUpdates>,
        declare::<RegionSnapshot>,
        declare::<RegionUpdates>,
        declare::<Resync>,
        declare::<ResyncReason>,
        declare::<AuthExpiring>,
    ];
    declare_all.iter().for_each(|declare| declare(&mut text));
    text.push_str(TAIL);
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("web-client/sdk/src/protocol.ts");
    if std::env::var_os("FLEETCAST_BLESS").is_some() {
        fs::write(file, text).unwrap();
    } else {
        let actual = fs::read_to_string(file).unwrap();
        assert!(actual == text, "web-client/sdk/src/protocol.ts is not up to date: run `make bless`\n{text}");
    }
}
