//! Looks for losses that left no trace. A hole between two messages tells of itself; the last message before
//! a silence does not, and Redis Cluster drops what its nodes could not tell each other.

use std::time::Duration;

use foldhash::HashMap;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{
    dispatch::{Dispatcher, Seen, regions::Regions},
    fleet::{Epoch, FleetId},
    store::RedisStore,
};

/// Between two looks, on average.
const INTERVAL: Duration = Duration::from_secs(5);
/// How long what Redis has counted may take to arrive.
const ON_THE_WAY: Duration = Duration::from_secs(2);
/// Regions have no number to compare: once in so many looks their cells are read again, if messages can get
/// lost between nodes.
const LOOKS_PER_REGIONS: u32 = 6;

/// Compares what dispatch has with the store's numbers, until `stop`.
pub(super) async fn run(
    store: RedisStore,
    dispatcher: Dispatcher,
    regions: Regions,
    has_nodes: bool,
    stop: CancellationToken,
) {
    let look_on = async {
        for look in 1_u32.. {
            // Replicas that were started together do not ask together.
            sleep(INTERVAL.mul_f64(rand::random_range(0.8..1.2))).await;
            let seen = dispatcher.fleets().await;
            let fleets = seen.iter().map(|(fleet, _)| fleet.clone()).collect();
            // A Redis that is away tells so by its connections.
            if let Ok(heads) = store.heads(fleets).await {
                end_repeated_numbers(&store, &seen, &heads).await;
                sleep(ON_THE_WAY).await;
                for (fleet, epoch, seq) in heads {
                    dispatcher.expect(fleet, epoch, seq).await;
                }
            }
            if has_nodes && look % LOOKS_PER_REGIONS == 0 && regions.is_watching() {
                regions.audit();
            }
        }
    };
    stop.run_until_cancelled(look_on).await;
}

/// A counter below what this replica has seen of it lost its newest numbers with a server, and no writer was
/// left that knew: what takes them a second time would be taken for seen, here and by cursors.
async fn end_repeated_numbers(store: &RedisStore, seen: &[Seen], heads: &[(FleetId, Epoch, u64)]) {
    let seen: HashMap<&FleetId, (Epoch, u64)> =
        seen.iter().filter_map(|(fleet, seen)| Some((fleet, (*seen)?))).collect();
    for (fleet, epoch, seq) in heads {
        let Some((_, known)) = seen.get(fleet).filter(|(known, _)| known == epoch) else { continue };
        if seq < known && store.begin_anew(fleet, *epoch, *known).await.unwrap_or(false) {
            tracing::warn!(%fleet, seq, known, "the fleet's counter in Redis went back: it begins anew");
        }
    }
}
