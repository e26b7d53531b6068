//! What the simulation promises: deterministic, plausible, evenly spread.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::{super::path::distance_m, *};

const TS_MS: i64 = 1_700_000_000_000;

fn simulation(assets: u32, fleets: u32, seed: u64) -> Simulation {
    Simulation::new(&Options { assets, fleets, seed, ..Options::default() }).unwrap()
}

fn everything(simulation: &Simulation, elapsed_s: f64) -> Vec<Update> {
    let elapsed = Duration::from_secs_f64(elapsed_s);
    simulation.slice(0, 1, elapsed, TS_MS).into_iter().map(|record| record.update).collect()
}

#[test]
fn the_same_seed_gives_the_same_fleet_and_another_one_does_not() {
    let texts = |seed, elapsed_s| -> Vec<Bytes> {
        everything(&simulation(2000, 60, seed), elapsed_s).into_iter().map(|update| update.raw).collect()
    };
    assert_eq!(texts(1, 1234.5), texts(1, 1234.5));
    assert_ne!(texts(1, 1234.5), texts(2, 1234.5));
    assert_ne!(texts(1, 1234.5), texts(1, 1235.5));
}

#[test]
fn fleets_are_named_by_region_and_sized_unevenly() {
    let simulation = simulation(50_000, 200, 1);
    assert_eq!(simulation.len(), 50_000);
    let names: Vec<&str> = simulation.fleets().iter().map(FleetId::as_str).collect();
    assert_eq!((names.len(), names[0], names[1], names[28]), (200, "nordic-01", "rhine-01", "nordic-02"));
    assert_eq!(names.iter().collect::<HashSet<_>>().len(), 200);
    let mut sizes: HashMap<u32, usize> = HashMap::new();
    for asset in &simulation.assets {
        *sizes.entry(asset.fleet).or_default() += 1;
    }
    let (least, most) = (sizes.values().min().unwrap(), sizes.values().max().unwrap());
    assert!((100..150).contains(least) && (350..400).contains(most), "{least} to {most}");
}

#[test]
fn slices_hold_every_asset_once() {
    let simulation = simulation(1001, 30, 3);
    let mut seen = HashSet::new();
    for slice in 0..50 {
        for Record { fleet, update, .. } in simulation.slice(slice, 50, Duration::from_secs(60), TS_MS) {
            let id = update.asset.unwrap().to_string();
            assert!(id.starts_with(fleet.as_str()), "{id} in {fleet}");
            assert!(seen.insert(id.clone()), "{id} twice");
        }
    }
    assert_eq!(seen.len(), 1001);
}

#[test]
fn messages_are_json_of_plausible_values_and_agree_with_the_update() {
    let simulation = simulation(20_000, 200, 1);
    let (mut alarms, mut stopped, mut bytes) = (HashMap::<String, usize>::new(), 0, 0);
    let updates = everything(&simulation, 5_000.0);
    for update in &updates {
        let json: Value = serde_json::from_slice(&update.raw).unwrap();
        let number = |name: &str| json[name].as_f64().unwrap_or_else(|| panic!("no {name}: {json}"));
        let within = |name: &str, low: f64, high: f64| {
            assert!((low..=high).contains(&number(name)), "{name}: {json}");
        };
        assert_eq!(json["assetId"], update.asset.as_ref().unwrap().as_str());
        assert_eq!(json["ts"], TS_MS);
        let position = update.position.unwrap();
        assert_eq!((number("lat"), number("lon")), (position.lat, position.lon));
        let kind = json["kind"].as_str().unwrap();
        let (fastest, coldest, warmest) = match kind {
            "road" | "reefer" => (105.0, -22.0, 28.0),
            "rail" => (145.0, 0.0, 0.0),
            "sea" => (50.0, 0.0, 0.0),
            other => panic!("{other}"),
        };
        within("speed_kmh", 0.0, fastest);
        within("heading_deg", 0.0, 359.0);
        within("fuel_pct", 1.0, 100.0);
        assert_eq!(json.get("temperature_c").is_some(), kind == "reefer");
        if kind == "reefer" {
            within("temperature_c", coldest, warmest);
        }
        stopped += usize::from(json["status"] == "stopped");
        if let Some(alarm) = json["alarm"].as_str() {
            assert_eq!(json["status"], "alarm");
            *alarms.entry(alarm.to_owned()).or_default() += 1;
        }
        bytes += update.raw.len();
    }
    let (len, mean) = (updates.len(), bytes / updates.len());
    assert!((180..230).contains(&mean), "{mean} bytes");
    assert!((len / 20..len / 2).contains(&stopped), "{stopped} of {len} stand");
    assert!((1..len / 100).contains(&alarms["temperature"]), "{alarms:?}");
    assert!(alarms.contains_key("door") && alarms.values().sum::<usize>() < len / 50, "{alarms:?}");
    let silent = simulation.len() - len;
    assert!((1..simulation.len() / 200).contains(&silent), "{silent} are silent");
}

#[test]
fn everybody_is_heard_in_the_first_minute() {
    let simulation = simulation(20_000, 200, 1);
    assert_eq!(everything(&simulation, 0.0).len(), 20_000);
    assert_eq!(everything(&simulation, 60.0).len(), 20_000);
}

#[test]
fn nobody_jumps_or_moves_faster_than_told() {
    let simulation = simulation(3000, 200, 1);
    for (index, asset) in simulation.assets.iter().enumerate() {
        // Different hours for each, a few of them across the end of the round trip.
        let start_s = (index as f64) * 977.0;
        let mut before = asset.vehicle.at(start_s, &simulation.networks);
        for second in 1..=120 {
            let now = asset.vehicle.at(start_s + f64::from(second), &simulation.networks);
            let moved_m = distance_m(before.position, now.position);
            let told_m = before.speed_kmh.max(now.speed_kmh) / 3.6;
            assert!(moved_m <= told_m * 1.03 + 0.5, "{} moved {moved_m} m, told {told_m}", asset.id);
            assert!((before.fuel_pct - now.fuel_pct).abs() < 2.0, "{}: fuel", asset.id);
            before = now;
        }
    }
}

#[test]
fn vehicles_get_somewhere() {
    let simulation = simulation(2000, 200, 1);
    let far = simulation.assets.iter().filter(|asset| {
        let place = |elapsed_s| asset.vehicle.at(elapsed_s, &simulation.networks).position;
        (1..12).any(|hour| distance_m(place(0.0), place(f64::from(hour) * 3600.0)) > 30_000.0)
    });
    let far = far.count();
    assert!(far > 1900, "{far} of 2000 left their town within half a day");
}

#[test]
fn fuel_falls_and_is_filled_up() {
    let simulation = simulation(500, 28, 1);
    for asset in &simulation.assets {
        let fuel = |hour: i32| asset.vehicle.at(f64::from(hour) * 3600.0, &simulation.networks).fuel_pct;
        let levels: Vec<f64> = (0..24 * 40).map(fuel).collect();
        let (least, most) = levels.iter().fold((100.0_f64, 0.0_f64), |(a, b), f| (a.min(*f), b.max(*f)));
        assert!(most - least > 5.0, "{}: {least} to {most}", asset.id);
        assert!(!levels.is_sorted_by(|a, b| a >= b), "{} is filled up", asset.id);
    }
}

#[test]
fn nonsense_is_refused_by_name() {
    let no = |assets, fleets, rate, why: &str| {
        let error = Simulation::new(&Options { assets, fleets, rate, seed: 1 }).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    };
    no(10, 11, 1.0, "11 fleets of 10");
    no(10, 0, 1.0, "0 fleets");
    no(10, 1, f64::NAN, "NaN");
    no(10, 1, 0.0, ": 0 is not");
    no(10, 1, 51.0, "51");
}

/// Not a claim but a figure: `cargo test --release demo -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
#[expect(clippy::print_stdout, reason = "the figure is the point")]
fn measure_one_second_of_50_000_assets() {
    let simulation = simulation(50_000, 200, 1);
    let started = std::time::Instant::now();
    let mut bytes = 0;
    for second in 0..20_u64 {
        for slice in 0..50 {
            let elapsed = Duration::from_millis(second * 1000 + slice * 20);
            let records = simulation.slice(usize::try_from(slice).unwrap(), 50, elapsed, TS_MS);
            bytes += records.iter().map(|record| record.update.raw.len()).sum::<usize>();
        }
    }
    let per_update_ns = started.elapsed().as_nanos() / (20 * 50_000);
    println!("{per_update_ns} ns and {} bytes per update", bytes / (20 * 50_000));
}
