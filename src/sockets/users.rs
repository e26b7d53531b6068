//! How many connections each user has, by the `sub` of its token.
//!
//! Invariant: an entry lives as long as its user has connections; a seat is given back with its value.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use foldhash::HashMap;

/// The users of all connections.
#[derive(Debug)]
pub struct Users {
    /// 0 is no limit.
    connections_max: AtomicUsize,
    table: Mutex<HashMap<Arc<str>, usize>>,
}

/// One connection's place among those of its user.
#[derive(Debug)]
pub(super) struct UserSeat {
    subject: Arc<str>,
    users: Arc<Users>,
}

impl Users {
    /// Nobody yet.
    #[must_use]
    pub fn new(connections_max: usize) -> Self {
        Self { connections_max: AtomicUsize::new(connections_max), table: Mutex::default() }
    }

    /// How many connections a user may have from now on; 0 is no limit. Who is here already stays.
    pub fn set_connections_max(&self, connections_max: usize) {
        self.connections_max.store(connections_max, Ordering::Relaxed);
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Arc<str>, usize>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A seat for one connection more, if there is one.
    pub(super) fn take(self: &Arc<Self>, subject: &Arc<str>) -> Option<UserSeat> {
        let connections_max = self.connections_max.load(Ordering::Relaxed);
        let mut table = self.table();
        let count = table.entry(subject.clone()).or_default();
        if connections_max > 0 && *count >= connections_max {
            return None;
        }
        *count += 1;
        drop(table);
        Some(UserSeat { subject: subject.clone(), users: self.clone() })
    }
}

impl Drop for UserSeat {
    fn drop(&mut self) {
        let mut table = self.users.table();
        if let Some(count) = table.get_mut(&self.subject) {
            *count -= 1;
            if *count == 0 {
                table.remove(&self.subject);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_so_many_seats_and_gives_them_back() {
        let users = Arc::new(Users::new(2));
        let (one, two): (Arc<str>, Arc<str>) = ("one".into(), "two".into());
        let held = [users.take(&one), users.take(&one)];
        assert!(held.iter().all(Option::is_some));
        assert!(users.take(&one).is_none());
        assert!(users.take(&two).is_some());
        users.set_connections_max(0);
        assert!(users.take(&one).is_some(), "no limit");
        users.set_connections_max(1);
        assert!(users.take(&one).is_none());
        drop(held);
        assert!(users.table().is_empty());
    }
}
