//! What jemalloc knows of its memory. Invariant: safe calls only; where jemalloc does not run, there are no
//! figures, and nothing fails.

use std::{fs, io, path::PathBuf};

use tikv_jemalloc_ctl::{Access, AsName, arenas, epoch, profiling, raw, stats};

/// Bytes by the allocator's own accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct AllocatorBytes {
    /// In live allocations.
    pub allocated: u64,
    /// In pages that hold live allocations.
    pub active: u64,
    /// Of the allocator's own structures.
    pub metadata: u64,
    /// In RAM: active, metadata, and freed pages not yet returned.
    pub resident: u64,
    /// Address space kept for later.
    pub retained: u64,
}

impl AllocatorBytes {
    /// Reads the figures now.
    #[must_use]
    pub fn read() -> Option<Self> {
        // jemalloc answers from a snapshot that it takes when told to.
        epoch::advance().ok()?;
        let bytes = |count: tikv_jemalloc_ctl::Result<usize>| count.ok().and_then(|n| u64::try_from(n).ok());
        Some(Self {
            allocated: bytes(stats::allocated::read())?,
            active: bytes(stats::active::read())?,
            metadata: bytes(stats::metadata::read())?,
            resident: bytes(stats::resident::read())?,
            retained: bytes(stats::retained::read())?,
        })
    }
}

/// Returns every freed page to the system now, instead of within the next second. Blocks for some
/// milliseconds per gigabyte.
pub(super) fn purge() {
    for arena in 0..arenas::narenas::read().unwrap_or(0) {
        for kind in ["dirty", "muzzy"] {
            // Setting a decay time of 0 purges at once. Arenas that were never used refuse: nothing to purge.
            let key = format!("arena.{arena}.{kind}_decay_ms\0");
            let name = key.as_bytes().name();
            if let Ok(decay_ms) = Access::<isize>::update(name, 0) {
                Access::<isize>::write(name, decay_ms).ok();
            }
        }
    }
}

/// Why there is no heap profile.
#[derive(Debug, thiserror::Error)]
pub enum NoProfile {
    /// The process was started without it.
    #[error("heap profiling is off: start fleetcast with MALLOC_CONF=prof:true,lg_prof_sample:19")]
    Off,
    /// The dump failed.
    #[error("writing the heap profile failed")]
    Failed(#[source] io::Error),
}

/// A heap profile in the format that `jeprof` reads.
///
/// # Errors
/// Profiling is off, or the profile cannot be written to the temporary directory.
pub fn heap_profile() -> Result<Vec<u8>, NoProfile> {
    if !profiling::prof::read().unwrap_or(false) {
        return Err(NoProfile::Off);
    }
    let path = dump_path().map_err(NoProfile::Failed)?;
    let mut file_name = path.as_os_str().as_encoded_bytes().to_vec();
    file_name.push(0);
    // jemalloc's safe interface asks for a name that lives for ever: some dozen bytes per profile taken.
    let dumped = raw::write_str(b"prof.dump\0", file_name.leak());
    let profile = dumped.map_err(|error| io::Error::other(error.to_string())).and_then(|()| fs::read(&path));
    if let Some(directory) = path.parent() {
        fs::remove_dir_all(directory).ok();
    }
    profile.map_err(NoProfile::Failed)
}

/// A file in a new directory that only this user can enter: the name cannot be guessed and taken before.
fn dump_path() -> io::Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    let directory = std::env::temp_dir().join(format!("fleetcast-heap-{:016x}", rand::random::<u64>()));
    fs::DirBuilder::new().mode(0o700).create(&directory)?;
    Ok(directory.join("profile.heap"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purging_returns_freed_memory_and_keeps_the_decay_times() {
        let before = AllocatorBytes::read().unwrap();
        let blocks: Vec<Vec<u8>> = (0..2000).map(|_| vec![1; 32 * 1024]).collect();
        let full = AllocatorBytes::read().unwrap();
        assert!(full.allocated > before.allocated + 50_000_000);
        drop(blocks);
        purge();
        let after = AllocatorBytes::read().unwrap();
        assert!(after.resident + 40_000_000 < full.resident, "{full:?} {after:?}");
        let decay_ms: isize = b"arena.0.dirty_decay_ms\0"[..].name().read().unwrap();
        assert_ne!(decay_ms, 0);
    }
}
