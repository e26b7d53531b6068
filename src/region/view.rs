//! What one viewer knows of one region, and what it must still be told.
//!
//! Invariant: `take` tells exactly the difference between what the viewer was told last and what is so
//! now. Whatever happened between two ticks counts once: an asset that entered and left was never there,
//! one that left and came back moved. Memory is the assets inside plus those that changed since the tick.
//!
//! Updates only append to a list; the members are looked up when the tick absorbs it. An update concerns
//! many regions and a tick one, so that is the order in which memory is met.

use foldhash::HashMap;

use super::{AssetKey, Transition};

/// Transitions that wait to be absorbed, at least; or twice the members, if that is more.
const NOTED_MAX: usize = 256;

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
    /// Transitions not yet absorbed, and whether they end inside.
    noted: Vec<(AssetKey, bool)>,
}

impl RegionView {
    /// Notes a transition; returns whether so many have come that they must be absorbed now.
    pub fn note(&mut self, key: AssetKey, transition: Transition) -> bool {
        self.noted.push((key, transition != Transition::Left));
        self.noted.len() >= NOTED_MAX.max(2 * self.members.len())
    }

    /// Makes members of the noted assets that `admit` lets in (it is asked about those only that are not
    /// inside already), and appends to `added` those that the view refers to since now.
    pub fn absorb(&mut self, mut admit: impl FnMut(AssetKey) -> bool, added: &mut Vec<AssetKey>) {
        for (key, inside) in self.noted.drain(..) {
            let member = match self.members.get_mut(&key) {
                Some(member) if member.inside || !inside || admit(key) => member,
                None if inside && admit(key) => {
                    added.push(key);
                    self.members.entry(key).or_default()
                }
                _ => continue,
            };
            member.inside = inside;
            if !member.changed {
                member.changed = true;
                self.changed.push(key);
            }
        }
    }

    /// Whether anything absorbed was not taken yet.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Whether the asset is inside, as far as absorbed.
    #[must_use]
    pub fn holds(&self, key: AssetKey) -> bool {
        self.members.get(&key).is_some_and(|member| member.inside)
    }

    /// The assets inside, as far as absorbed.
    pub fn inside(&self) -> impl Iterator<Item = AssetKey> {
        self.members.iter().filter(|(_, member)| member.inside).map(|(key, _)| *key)
    }

    /// Every asset that the view refers to, until `take` forgets it.
    pub fn keys(&self) -> impl Iterator<Item = AssetKey> {
        self.members.keys().copied()
    }

    /// Tells the net change of each asset since the last time, as far as absorbed, and takes it as told;
    /// until `tell` says that it is enough. The rest stays for the next time, before what changes by then.
    pub fn take(&mut self, mut tell: impl FnMut(AssetKey, Net) -> bool) {
        let mut taken = 0;
        for key in &self.changed {
            taken += 1;
            let Some(member) = self.members.get_mut(key) else { continue };
            let net = match (member.known, member.inside) {
                (false, true) => Net::Entered,
                (true, true) => Net::Moved,
                (true, false) => Net::Left,
                (false, false) => Net::Nothing,
            };
            if member.inside {
                *member = Member { known: true, inside: true, changed: false };
            } else {
                self.members.remove(key);
            }
            if !tell(*key, net) {
                break;
            }
        }
        self.changed.drain(..taken);
        // A viewer that looked at the whole world once must not keep its memory.
        if self.members.capacity() > 64 + 4 * self.members.len() {
            self.members.shrink_to_fit();
            self.changed.shrink_to_fit();
            self.noted.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Transition::*, *};

    /// A view whose viewer got `assets` as its snapshot.
    fn told(assets: impl IntoIterator<Item = AssetKey>) -> RegionView {
        let member = |key| (key, Member { known: true, inside: true, changed: false });
        RegionView { members: assets.into_iter().map(member).collect(), ..RegionView::default() }
    }

    #[track_caller]
    fn check(known: bool, transitions: &[Transition], expected: Option<Net>) {
        let key = AssetKey(1);
        let mut view = told(known.then_some(key));
        for transition in transitions {
            view.note(key, *transition);
        }
        view.absorb(|_| true, &mut Vec::new());
        let mut told = None;
        view.take(|_, net| {
            assert_eq!(told.replace(net), None, "told twice");
            true
        });
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
        let (mut added, mut longest) = (Vec::new(), 0);
        for _ in 0..10_000 {
            for transition in [Entered, Left] {
                let must = view.note(AssetKey(1), transition);
                longest = longest.max(view.noted.len());
                if must {
                    view.absorb(|_| true, &mut added);
                }
            }
        }
        view.absorb(|_| true, &mut added);
        assert_eq!((view.members.len(), view.changed.len(), longest), (1, 1, NOTED_MAX));
        assert_eq!(added, [AssetKey(1)]);
        view.take(|_, _| true);
        assert_eq!((view.members.len(), view.changed.len()), (0, 0));
    }

    #[test]
    fn what_is_not_admitted_is_no_member_and_what_is_inside_is_not_asked_about() {
        let mut view = told([AssetKey(1), AssetKey(2)]);
        for (key, transition) in [(1, Moved), (2, Left), (2, Entered), (3, Entered), (3, Moved), (4, Left)] {
            view.note(AssetKey(key), transition);
        }
        let (mut asked, mut added) = (Vec::new(), Vec::new());
        view.absorb(
            |key| {
                asked.push(key.0);
                false
            },
            &mut added,
        );
        assert_eq!((asked, added.len()), (vec![2, 3, 3], 0));
        let mut told = Vec::new();
        view.take(|key, net| {
            told.push((key.0, net));
            true
        });
        assert_eq!(told, [(1, Net::Moved), (2, Net::Left)]);
    }

    #[test]
    fn memory_follows_the_members_down() {
        let mut view = RegionView::default();
        let mut note = |keys: std::ops::Range<u32>, transition| {
            for key in keys {
                view.note(AssetKey(key), transition);
            }
            view.absorb(|_| true, &mut Vec::new());
            view.take(|_, _| true);
            view.members.capacity().max(view.changed.capacity()).max(view.noted.capacity())
        };
        assert!(note(0..50_000, Entered) >= 50_000);
        assert!(note(0..49_990, Left) < 1000);
        assert_eq!(view.inside().count(), 10);
    }
}
