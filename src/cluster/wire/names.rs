//! Channels: which frame goes where, and what a channel's name says.

use super::{Dialect, ShardMode};

/// A key or namespace that would make channels ambiguous.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("adapter key {0:?}: must not be empty or contain '#' or control characters")]
pub struct InvalidKey(pub String);

/// The channels of one key prefix and namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    namespace: String,
    request: String,
    response: String,
    path: String,
    dialect: Dialect,
    shard_mode: ShardMode,
}

/// Where a message came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address<'a> {
    /// Broadcasts to everyone, to several rooms, or with exceptions only.
    Namespace,
    /// Broadcasts to this one room.
    Room(&'a str),
    /// Requests.
    Request,
    /// Responses, to everybody or to one member.
    Response,
}

impl Names {
    /// The channels of namespace `path` (with its slash) under `key`.
    ///
    /// # Errors
    /// The key would make channels ambiguous.
    pub fn new(key: &str, path: &str) -> Result<Self, InvalidKey> {
        if key.is_empty() || key.contains(|c: char| c == '#' || c.is_control()) {
            return Err(InvalidKey(key.to_owned()));
        }
        Ok(Self {
            namespace: format!("{key}#{path}#"),
            request: format!("{key}-request#{path}#"),
            response: format!("{key}-response#{path}#"),
            path: path.to_owned(),
            dialect: Dialect::Classic,
            shard_mode: ShardMode::default(),
        })
    }

    /// The same for a dialect: the sharded adapter asks on the namespace's channel, and answers on one
    /// named as a room.
    #[must_use]
    pub fn of(self, dialect: Dialect) -> Self {
        match dialect {
            Dialect::Classic => self,
            Dialect::Sharded => {
                Self { request: self.namespace.clone(), response: self.namespace.clone(), dialect, ..self }
            }
        }
    }

    /// The same in a mode of the sharded adapter; the classic one has none.
    #[must_use]
    pub fn in_shard_mode(self, shard_mode: ShardMode) -> Self {
        Self { shard_mode, ..self }
    }

    pub(super) fn shard_mode(&self) -> ShardMode {
        self.shard_mode
    }

    /// Which of Node's adapters is spoken.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The namespace.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The namespace's channel.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The channel of one room.
    #[must_use]
    pub fn room(&self, room: &str) -> String {
        format!("{}{room}#", self.namespace)
    }

    /// The pattern of the namespace's and all rooms' channels.
    #[must_use]
    pub fn pattern(&self) -> String {
        let mut pattern = String::with_capacity(self.namespace.len() + 1);
        for character in self.namespace.chars() {
            // A key is free to contain what PSUBSCRIBE would take for a wildcard.
            if matches!(character, '*' | '?' | '[' | ']' | '\\') {
                pattern.push('\\');
            }
            pattern.push(character);
        }
        pattern.push('*');
        pattern
    }

    /// The channel of requests, whose subscribers are the members.
    #[must_use]
    pub fn request(&self) -> &str {
        &self.request
    }

    /// The channel of responses.
    #[must_use]
    pub fn response(&self) -> &str {
        &self.response
    }

    /// The channel of responses to one member.
    #[must_use]
    pub fn response_to(&self, uid: &str) -> String {
        format!("{}{uid}#", self.response)
    }

    /// What `channel` is for; `None` if it is none of ours.
    #[must_use]
    pub fn address<'a>(&self, channel: &'a str) -> Option<Address<'a>> {
        if let Some(rest) = channel.strip_prefix(&self.namespace) {
            // Node cuts the last character off, whatever it is.
            let room = rest.char_indices().next_back().map_or("", |(at, _)| &rest[..at]);
            return Some(if room.is_empty() { Address::Namespace } else { Address::Room(room) });
        }
        if channel.starts_with(&self.request) {
            return Some(Address::Request);
        }
        channel.starts_with(&self.response).then_some(Address::Response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_say_where_a_message_belongs() {
        let names = Names::new("socket.io", "/").unwrap();
        for (channel, expected) in [
            ("socket.io#/#", Some(Address::Namespace)),
            ("socket.io#/#fleet-1#", Some(Address::Room("fleet-1"))),
            ("socket.io#/#we#ird:röom#", Some(Address::Room("we#ird:röom"))),
            ("socket.io#/#fleet-1", Some(Address::Room("fleet-"))),
            ("socket.io#/##", Some(Address::Namespace)),
            ("socket.io-request#/#", Some(Address::Request)),
            ("socket.io-response#/#", Some(Address::Response)),
            ("socket.io-response#/#abc#", Some(Address::Response)),
            ("socket.io#/admin#x#", None),
            ("other#/#", None),
        ] {
            assert_eq!(names.address(channel), expected, "{channel}");
        }
        assert_eq!(names.room("r"), "socket.io#/#r#");
        assert_eq!(names.response_to("abc"), "socket.io-response#/#abc#");
    }

    #[test]
    fn wildcards_in_a_key_stay_literal_in_the_pattern() {
        assert_eq!(Names::new("a*b", "/").unwrap().pattern(), "a\\*b#/#*");
    }

    #[test]
    fn keys_that_make_channels_ambiguous_are_refused() {
        for key in ["", "a#b", "a\n"] {
            assert!(Names::new(key, "/").is_err(), "{key:?}");
        }
    }
}
