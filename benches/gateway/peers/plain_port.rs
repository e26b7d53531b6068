//! A plain port of the mended Node gateway to socketioxide, as its documentation suggests: default runtime,
//! default allocator, default settings, rooms for the fan-out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use futures_util::StreamExt;
use socketioxide::SocketIo;
use socketioxide::extract::SocketRef;
use tokio::sync::mpsc;

/// Commands to the one Redis subscriber that may wait.
const COMMANDS_MAX: usize = 10_000;

enum Watch {
    Start(String),
    Stop(String),
}

/// Fleet → viewers, and the way to the subscriber.
struct Fleets {
    viewers: Mutex<HashMap<String, usize>>,
    watches: mpsc::Sender<Watch>,
}

impl Fleets {
    fn enter(&self, fleet: &str) {
        let mut viewers = self.viewers.lock().unwrap_or_else(PoisonError::into_inner);
        let count = viewers.entry(fleet.to_owned()).or_default();
        *count += 1;
        if *count == 1 {
            self.send(Watch::Start(fleet.to_owned()));
        }
    }

    fn leave(&self, fleet: &str) {
        let mut viewers = self.viewers.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(count) = viewers.get_mut(fleet) else { return };
        *count -= 1;
        if *count == 0 {
            viewers.remove(fleet);
            self.send(Watch::Stop(fleet.to_owned()));
        }
    }

    /// Under the lock, so that a stop never overtakes the start after it.
    fn send(&self, watch: Watch) {
        self.watches.try_send(watch).expect("there are fewer fleets than places in the queue");
    }
}

/// Serves until it is killed.
pub(super) fn serve(port: u16, redis_url: &str) -> Result<()> {
    tokio::runtime::Runtime::new()?.block_on(run(port, redis_url))
}

async fn run(port: u16, redis_url: &str) -> Result<()> {
    let (layer, io) = SocketIo::new_layer();
    let (watches, commands) = mpsc::channel(COMMANDS_MAX);
    let fleets = Arc::new(Fleets { viewers: Mutex::default(), watches });
    io.ns("/", async move |socket: SocketRef| {
        let query = socket.req_parts().uri.query().unwrap_or_default();
        let Some(fleet) = query.split('&').find_map(|pair| pair.strip_prefix("fleetId=")) else { return };
        let fleet = fleet.to_owned();
        socket.join(fleet.clone());
        fleets.enter(&fleet);
        let fleets = Arc::clone(&fleets);
        socket.on_disconnect(async move || fleets.leave(&fleet));
    });
    let client = redis::Client::open(redis_url)?;
    tokio::spawn(forward(client.get_async_pubsub().await?, commands, io));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    axum::serve(listener, axum::Router::new().layer(layer)).await?;
    Ok(())
}

/// From Redis to the rooms.
async fn forward(
    pubsub: redis::aio::PubSub,
    mut commands: mpsc::Receiver<Watch>,
    io: SocketIo,
) -> Result<()> {
    let (mut sink, mut stream) = pubsub.split();
    let watching = tokio::spawn(async move {
        while let Some(watch) = commands.recv().await {
            match watch {
                Watch::Start(fleet) => sink.subscribe(format!("updates:{fleet}")).await?,
                Watch::Stop(fleet) => sink.unsubscribe(format!("updates:{fleet}")).await?,
            }
        }
        anyhow::Ok(())
    });
    while let Some(message) = stream.next().await {
        let fleet = message.get_channel_name().trim_start_matches("updates:").to_owned();
        let payload: String = message.get_payload()?;
        // Full queues of single viewers are not an error here: socketioxide drops the message for them.
        drop(io.to(fleet).emit("fleet_update", &payload).await);
    }
    watching.await?
}
