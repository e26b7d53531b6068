//! Everything that reads bytes from outside, one entrance each, for `fuzz/`; and the test that runs what
//! fuzzing has found so far.
//!
//! Invariant: an entrance takes any bytes. It panics when what was read contradicts itself, not when it is wrong.

/// One entrance: its name, as in `fuzz/fuzz_targets` and `fuzz/corpus`, and what it does with bytes.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[
    ("http_head", crate::transport::fuzzing::http_head),
    ("payload", crate::transport::fuzzing::payload),
    ("websocket", crate::transport::fuzzing::websocket),
    ("requests", crate::sockets::fuzzing::requests),
    ("cursor", crate::dispatch::fuzzing::cursor),
    ("region", crate::region::fuzzing::region),
    ("adapter", crate::cluster::wire::fuzzing::adapter),
    ("telemetry", crate::fleet::fuzzing::telemetry),
    ("channel", crate::fleet::fuzzing::channel),
    ("fields", crate::fleet::fuzzing::fields),
];

/// Runs one entrance by its name.
///
/// # Panics
/// There is none of that name, or it found something.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|(known, _)| *known == name);
    let (_, run) = target.expect("a target of this name");
    run(bytes);
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::PathBuf};

    use super::*;

    fn folder(name: &str) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name)
    }

    #[test]
    fn what_fuzzing_has_found_breaks_nothing_any_more() {
        for (name, run) in TARGETS {
            let files = fs::read_dir(folder("corpus").join(name)).unwrap();
            let files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
            assert!(files.len() >= 3, "{name}: no corpus");
            for file in files {
                let bytes = fs::read(&file).unwrap();
                // Named before it is tried, since what it does may be no panic.
                let outcome = std::panic::catch_unwind(|| run(&bytes));
                assert!(outcome.is_ok(), "{}", file.display());
            }
        }
    }

    #[test]
    fn every_entrance_has_its_fuzz_target() {
        let there = fs::read_dir(folder("fuzz_targets")).unwrap();
        let there: BTreeSet<_> =
            there.map(|file| file.unwrap().path().file_stem().unwrap().to_owned()).collect();
        assert_eq!(there, TARGETS.iter().map(|(name, _)| (*name).into()).collect());
    }
}
