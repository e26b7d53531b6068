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

    use rand::{RngExt, SeedableRng, rngs::SmallRng};

    use super::*;

    /// How many mutants of the corpus each test run tries, of every target.
    const MUTANTS: usize = 300;
    const MUTANT_BYTES_MAX: usize = 8192;

    fn folder(name: &str) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name)
    }

    fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
        let files = fs::read_dir(folder("corpus").join(name)).unwrap();
        let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        files.sort();
        assert!(files.len() >= 3, "{name}: no corpus");
        files.into_iter().map(|file| (file.clone(), fs::read(file).unwrap())).collect()
    }

    #[test]
    fn what_fuzzing_has_found_breaks_nothing_any_more() {
        for (name, run) in TARGETS {
            for (file, bytes) in corpus(name) {
                let outcome = std::panic::catch_unwind(|| run(&bytes));
                assert!(outcome.is_ok(), "{}", file.display());
            }
        }
    }

    /// Other ones in every run; `FLEETCAST_FUZZ_MUTANTS=1000000` tries more. It has no coverage to go by, as
    /// `make fuzz` has.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "how many is asked of whoever runs it")]
    fn mutants_of_the_corpus_break_nothing() {
        let count = std::env::var("FLEETCAST_FUZZ_MUTANTS");
        let count: usize = count.map_or(MUTANTS, |count| count.parse().unwrap());
        let mut rng = SmallRng::seed_from_u64(rand::random());
        for (name, run) in TARGETS {
            let corpus: Vec<Vec<u8>> = corpus(name).into_iter().map(|(_, bytes)| bytes).collect();
            for _ in 0..count {
                let mutant = mutant(&corpus, &mut rng);
                let outcome = std::panic::catch_unwind(|| run(&mutant));
                assert!(outcome.is_ok(), "{name}: b\"{}\"", mutant.escape_ascii());
            }
        }
    }

    fn mutant(corpus: &[Vec<u8>], rng: &mut SmallRng) -> Vec<u8> {
        const TELLING: [&[u8]; 10] = [
            b"\xff\xff\xff\xff",
            b"\0",
            b"-1",
            b"1e308",
            b"null",
            b"{",
            b"[",
            b"\"",
            b"\x7f",
            b"\xf0\x9f\x98\x80",
        ];
        let mut bytes = corpus[rng.random_range(0..corpus.len())].clone();
        for _ in 0..rng.random_range(1..8) {
            let at = rng.random_range(0..=bytes.len());
            let end = (at + rng.random_range(0..32_usize)).min(bytes.len());
            let piece: Vec<u8> = match rng.random_range(0..6) {
                0 => vec![rng.random()],
                1 => TELLING[rng.random_range(0..TELLING.len())].to_vec(),
                2 => Vec::new(),
                3 => bytes[at..end].repeat(rng.random_range(1..20)),
                4 => {
                    let other = &corpus[rng.random_range(0..corpus.len())];
                    let from = rng.random_range(0..=other.len());
                    other[from..(from + rng.random_range(0..64_usize)).min(other.len())].to_vec()
                }
                _ => bytes[at..end].iter().map(|byte| byte ^ (1 << rng.random_range(0..8))).collect(),
            };
            bytes.splice(at..end, piece);
        }
        bytes.truncate(MUTANT_BYTES_MAX);
        bytes
    }

    #[test]
    fn every_entrance_has_its_fuzz_target() {
        let there = fs::read_dir(folder("fuzz_targets")).unwrap();
        let there: BTreeSet<_> =
            there.map(|file| file.unwrap().path().file_stem().unwrap().to_owned()).collect();
        assert_eq!(there, TARGETS.iter().map(|(name, _)| (*name).into()).collect());
    }
}
