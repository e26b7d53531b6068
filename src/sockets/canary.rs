//! The session of the delivery canary (see `canary`): a member of its fleet, and nothing else. It is in no
//! room and no table, so neither peers nor gauges know of it.

use std::sync::Arc;

use socketioxide::socket::DisconnectReason;

use super::{Hub, Socket, connect::JOIN_TIMEOUT};
use crate::{
    dispatch::{Membership, Mode, Viewer},
    fleet::FleetId,
    transport::Session,
};

/// Begins its membership. It ends with the socket's extensions, as a viewer's do.
pub(super) async fn admit(hub: &Arc<Hub>, socket: &Socket, session: &Arc<Session>) {
    let fleet = FleetId::canary();
    let watch = hub.feed.watch(&fleet);
    // Without a confirmation it is let in like anybody: what it misses is the point.
    watch.confirmed(hub.options.confirm_timeout).await.ok();
    let membership = Membership::new(fleet, Viewer::new(session.clone()), hub.dispatcher.clone(), watch);
    membership.join(Mode::Legacy, JOIN_TIMEOUT).await;
    socket.extensions.insert(Arc::new(membership));
    socket.on_disconnect(left);
}

async fn left(socket: Socket, _: DisconnectReason) {
    drop(socket.extensions.remove::<Arc<Membership>>());
}
