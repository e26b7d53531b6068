//! A bus in memory: several members in one test, without Redis. Keeps every invariant of a bus.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::{FutureExt, future::BoxFuture};
use tokio::sync::mpsc;

use super::{
    bus::{Bus, BusError, Event, Events, Message, PublishError, Subscription},
    wire::Frame,
};

const QUEUE_MAX: usize = 10_000;

/// What Redis would be. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub(super) struct Network(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    members: Mutex<Vec<Connected>>,
    is_away: AtomicBool,
}

#[derive(Debug)]
struct Connected {
    channels: HashMap<String, usize>,
    pattern: Option<String>,
    events: mpsc::Sender<Event>,
}

/// One member's connection.
#[derive(Debug)]
pub(super) struct MemoryBus {
    network: Network,
    index: usize,
}

/// One member's messages.
#[derive(Debug)]
pub(super) struct MemoryEvents(mpsc::Receiver<Event>);

/// Keeps a channel subscribed.
#[derive(Debug)]
pub struct MemoryHold {
    network: Network,
    index: usize,
    channel: String,
}

impl Network {
    /// One more member, with everything that starts with `prefix` subscribed.
    pub(super) fn connect(&self, prefix: Option<String>) -> (MemoryBus, MemoryEvents) {
        let (events, received) = mpsc::channel(QUEUE_MAX);
        events.try_send(Event::Restored).unwrap();
        let mut members = self.0.members.lock().unwrap();
        members.push(Connected { channels: HashMap::new(), pattern: prefix, events });
        let index = members.len() - 1;
        (MemoryBus { network: self.clone(), index }, MemoryEvents(received))
    }

    /// As Redis would see it go and come.
    pub(super) fn set_away(&self, is_away: bool) {
        self.0.is_away.store(is_away, Ordering::SeqCst);
        for member in self.0.members.lock().unwrap().iter() {
            member.events.try_send(if is_away { Event::Lost } else { Event::Restored }).unwrap();
        }
    }

    /// Anything, from nobody.
    pub(super) fn inject(&self, frame: &Frame) {
        for member in self.0.members.lock().unwrap().iter() {
            let by_pattern =
                member.pattern.as_ref().is_some_and(|prefix| frame.channel().starts_with(prefix));
            if by_pattern || member.channels.contains_key(frame.channel()) {
                member.events.try_send(Event::Messages(vec![Message::Memory(frame.clone())])).unwrap();
            }
        }
    }

    pub(super) fn channels(&self, index: usize) -> usize {
        self.0.members.lock().unwrap()[index].channels.len()
    }

    fn is_up(&self) -> bool {
        !self.0.is_away.load(Ordering::SeqCst)
    }
}

impl Bus for MemoryBus {
    fn publish(&self, frame: Frame) -> Result<(), PublishError> {
        if !self.network.is_up() {
            return Err(PublishError::QueueFull);
        }
        self.network.inject(&frame);
        Ok(())
    }

    fn subscribers(&self, channel: &str) -> BoxFuture<'_, Result<usize, BusError>> {
        let members = self.network.0.members.lock().unwrap();
        let count = members.iter().filter(|member| member.channels.contains_key(channel)).count();
        let is_up = self.network.is_up();
        async move { if is_up { Ok(count) } else { Err(BusError::Disconnected) } }.boxed()
    }

    fn hold(&self, channel: String) -> Subscription {
        let mut members = self.network.0.members.lock().unwrap();
        *members[self.index].channels.entry(channel.clone()).or_default() += 1;
        Subscription::Memory(MemoryHold { network: self.network.clone(), index: self.index, channel })
    }

    fn is_up(&self) -> bool {
        self.network.is_up()
    }

    fn end_lingering(&self) {}

    fn knows(&self, channel: &str) -> bool {
        self.network.0.members.lock().unwrap()[self.index].channels.contains_key(channel)
    }
}

impl Events for MemoryEvents {
    fn next(&mut self) -> BoxFuture<'_, Event> {
        async { self.0.recv().await.unwrap_or(Event::Lost) }.boxed()
    }
}

impl Drop for MemoryHold {
    fn drop(&mut self) {
        let mut members = self.network.0.members.lock().unwrap();
        let channels = &mut members[self.index].channels;
        let holds = channels.get_mut(&self.channel).unwrap();
        *holds -= 1;
        if *holds == 0 {
            channels.remove(&self.channel);
        }
    }
}
