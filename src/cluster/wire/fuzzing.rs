//! What peers publish, and whoever else reaches the cluster's channels.

use std::hint::black_box;

use super::{Body, Dialect, Incoming, Names, RequestFrame, ResponseFrame, ShardedMessage};
use crate::cluster::EncodedEvent;

/// A message of any channel, in both dialects. What survives decoding must be fit for dashboards, and for the
/// cluster.
pub(crate) fn adapter(bytes: &[u8]) {
    let names = Names::new("socket.io", "/").expect("a key and a path");
    if let Ok(channel) = std::str::from_utf8(bytes) {
        black_box(names.address(channel));
    }
    if let Ok(incoming) = Incoming::open(bytes)
        && let Ok(event) = incoming.event()
    {
        fits(&event);
    }
    if let Ok(request) = RequestFrame::decode(bytes) {
        drop(request.frame(&names));
    }
    if let Ok(response) = ResponseFrame::decode(bytes) {
        drop(response.frame(&names, Some("uid")));
    }
    if let Some((_, answer)) = RequestFrame::answer_to_unreadable(bytes) {
        drop(answer.frame(&names, None));
    }
    let sharded = names.of(Dialect::Sharded);
    if let Ok(message) = ShardedMessage::decode(bytes) {
        if let Body::Emit { event, .. } = &message.body {
            fits(event);
        }
        drop(message.frame(&sharded));
        drop(message.response_frame(&sharded, "uid"));
    }
    if let Some((to, answer)) = ShardedMessage::answer_to_unreadable(bytes) {
        drop(
            ShardedMessage { uid: "uid".to_owned(), body: Body::Response(answer) }
                .response_frame(&sharded, &to),
        );
    }
}

fn fits(event: &EncodedEvent) {
    let again = EncodedEvent::from_json(event.data(), event.attachments().to_vec());
    assert!(again.is_ok(), "{event:?}");
}
