//! What one viewer knows of one region, and what it must still be told.
//!
//! Invariant: `take` tells exactly the difference between what the viewer was told last and what is so
//! now. Whatever happened between two ticks counts once: an asset that entered and left was never there,
//! one that left and came back moved. Memory is the assets inside plus those that changed since the tick.

use foldhash::{HashMap, HashMapExt};

use super::{AssetKey, Transition};

/// What a tick tells of one asset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Net {
    /// Tell its state: the viewer does not have it.
    Entered,
    /// Tell its state: the viewer has an older one.
    Moved,
    /// Tell that it is gone; the view has forgotten it.
    Left,
    /// Tell nothing: it came and went. The view has forgotten it.
    Nothing,
}

#[derive(Debug, Clone, Copy, Default)]
struct Member {
    /// The viewer was told that it is inside.
    known: bool,
    /// It is inside.
    inside: bool,
    /// It is in `changed`.
    changed: bool,
}

/// The members of one region as its viewer knows them.
#[derive(Debug, Default)]
pub struct RegionView {
    members: HashMap<AssetKey, Member>,
    /// Each key once, in the order of first change.
    changed: Vec<AssetKey>,
}

impl RegionView {
    /// A view whose viewer gets `assets` as its snapshot.
    pub fn told(assets: impl IntoIterator<Item = AssetKey>) -> Self {
        let mut members = HashMap::new();
        members.extend(
            assets.into_iter().map(|key| (key, Member { known: true, inside: true, changed: false })),
        );
        Self { members, changed: Vec::new() }
    }

    /// Whether the asset is inside now.
    #[must_use]
    pub fn holds(&self, key: AssetKey) -> bool {
        self.members.get(&key).is_some_and(|member| member.inside)
    }

    /// The assets inside now.
    pub fn inside(&self) -> impl Iterator<Item = AssetKey> {
        self.members.iter().filter(|(_, member)| member.inside).map(|(key, _)| *key)
    }

    /// Every asset that the view refers to, until `take` forgets it.
    pub fn keys(&self) -> impl Iterator<Item = AssetKey> {
        self.members.keys().copied()
    }

    /// Whether the next `take` has anything to look at.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Notes a transition; returns whether the view refers to the asset since now.
    /// Leaving without having been inside is nothing.
    pub fn note(&mut self, key: AssetKey, transition: Transition) -> bool {
        let inside = transition != Transition::Left;
        if !inside && !self.members.contains_key(&key) {
            return false;
        }
        let mut added = false;
        let member = self.members.entry(key).or_insert_with(|| {
            added = true;
            Member::default()
        });
        member.inside = inside;
        if !member.changed {
            member.changed = true;
            self.changed.push(key);
        }
        added
    }

    /// Tells the net change of each asset since the last time, and takes it as told.
    pub fn take(&mut self, mut tell: impl FnMut(AssetKey, Net)) {
        for key in self.changed.drain(..) {
            let Some(member) = self.members.get_mut(&key) else { continue };
            let net = match (member.known, member.inside) {
                (false, true) => Net::Entered,
                (true, true) => Net::Moved,
                (true, false) => Net::Left,
                (false, false) => Net::Nothing,
            };
            if member.inside {
                *member = Member { known: true, inside: true, changed: false };
            } else {
                self.members.remove(&key);
            }
            tell(key, net);
        }
        // A viewer that looked at the whole world once must not keep its memory.
        if self.members.capacity() > 64 + 4 * self.members.len() {
            self.members.shrink_to_fit();
            self.changed.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Transition::*, *};

    #[track_caller]
    fn check(known: bool, transitions: &[Transition], expected: Option<Net>) {
        let key = AssetKey(1);
        let mut view = RegionView::told(known.then_some(key));
        for transition in transitions {
            view.note(key, *transition);
        }
        let mut told = None;
        view.take(|_, net| assert_eq!(told.replace(net), None, "told twice"));
        assert_eq!(told, expected, "{transitions:?}");
        view.take(|_, net| panic!("{net:?} is told again"));
    }

    #[test]
    fn a_tick_tells_the_net_change_once() {
        check(false, &[Entered], Some(Net::Entered));
        check(false, &[Entered, Moved, Moved], Some(Net::Entered));
        check(false, &[Entered, Left], Some(Net::Nothing));
        check(false, &[Entered, Left, Entered], Some(Net::Entered));
        check(false, &[Left], None);
        check(true, &[], None);
        check(true, &[Moved, Moved], Some(Net::Moved));
        check(true, &[Left], Some(Net::Left));
        check(true, &[Moved, Left], Some(Net::Left));
        check(true, &[Left, Entered], Some(Net::Moved));
        check(true, &[Left, Entered, Left], Some(Net::Left));
    }

    #[test]
    fn what_flaps_is_remembered_once() {
        let mut view = RegionView::default();
        for _ in 0..1000 {
            view.note(AssetKey(1), Entered);
            view.note(AssetKey(1), Left);
        }
        assert_eq!((view.members.len(), view.changed.len()), (1, 1));
        view.take(|_, _| {});
        assert_eq!((view.members.len(), view.changed.len()), (0, 0));
    }

    #[test]
    fn memory_follows_the_members_down() {
        let mut view = RegionView::default();
        for key in 0..50_000 {
            view.note(AssetKey(key), Entered);
        }
        view.take(|_, _| {});
        for key in 0..49_990 {
            view.note(AssetKey(key), Left);
        }
        view.take(|_, _| {});
        assert_eq!(view.inside().count(), 10);
        assert!(view.members.capacity() < 1000 && view.changed.capacity() < 1000);
    }
}
