//! Questions to the cluster that wait for their answers. Pure: deadlines and waking are the asker's.
//!
//! Invariant: a question ends exactly once — complete, or given up — and is forgotten then; late and
//! surplus answers find nothing.

use foldhash::{HashMap, HashMapExt};

use super::wire::Answer;

/// Questions that may wait at the same time.
const PENDING_MAX: usize = 10_000;
/// Answers kept for one question; a peer that repeats itself for ever must not cost memory.
const ANSWERS_MAX: usize = 1_000_000;

/// What makes a question complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expect {
    /// So many answers, whoever gives them: that is all the protocol can tell.
    Answers(usize),
    /// So many counts of dashboards, and as many acknowledgements as they announce together.
    Counts(usize),
}

/// How a question ended.
#[derive(Debug, PartialEq)]
pub(super) struct Ended<T> {
    /// What the caller attached to it.
    pub(super) tag: T,
    /// What was answered.
    pub(super) answers: Vec<Answer>,
    /// How many answers are missing.
    pub(super) missing: usize,
}

#[derive(Debug)]
struct Entry<T> {
    tag: T,
    answers_left: usize,
    /// Of dashboards; more may have answered than were announced so far.
    acks: Option<Acks>,
    answers: Vec<Answer>,
}

#[derive(Debug, Default)]
struct Acks {
    announced: usize,
    received: usize,
}

/// The questions that wait.
#[derive(Debug)]
pub(super) struct Pending<T> {
    entries: HashMap<String, Entry<T>>,
}

impl<T> Pending<T> {
    pub(super) fn new() -> Self {
        Self { entries: HashMap::new() }
    }

    /// A question was asked. Gives `tag` back when too many wait already, or the id is taken.
    pub(super) fn insert(&mut self, id: &str, expect: Expect, tag: T) -> Result<(), T> {
        if self.entries.len() >= PENDING_MAX || self.entries.contains_key(id) {
            return Err(tag);
        }
        let (answers_left, acks) = match expect {
            Expect::Answers(answers) => (answers, None),
            Expect::Counts(counts) => (counts, Some(Acks::default())),
        };
        let entry = Entry { tag, answers_left, acks, answers: Vec::new() };
        self.entries.insert(id.to_owned(), entry);
        Ok(())
    }

    /// Whether any question waits: if none does, answers need not even be decoded.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// An answer arrived. Returns the question if that completes it.
    pub(super) fn answer(&mut self, id: &str, answer: Answer) -> Option<Ended<T>> {
        let entry = self.entries.get_mut(id)?;
        match (&mut entry.acks, answer) {
            (Some(acks), Answer::ClientCount(count)) => {
                acks.announced += usize::try_from(count).unwrap_or(usize::MAX).min(ANSWERS_MAX);
                entry.answers_left = entry.answers_left.saturating_sub(1);
            }
            (Some(acks), ack @ Answer::Ack(_)) => {
                acks.received += 1;
                entry.keep(ack);
            }
            (Some(_), _) | (None, Answer::ClientCount(_) | Answer::Ack(_)) => return None,
            (None, answer) => {
                entry.answers_left = entry.answers_left.saturating_sub(1);
                entry.keep(answer);
            }
        }
        let is_complete = entry.missing() == 0;
        if is_complete { self.end(id) } else { None }
    }

    /// Gives a question up: its time is over, or nobody waits for it any more.
    pub(super) fn end(&mut self, id: &str) -> Option<Ended<T>> {
        let entry = self.entries.remove(id)?;
        let missing = entry.missing();
        Some(Ended { tag: entry.tag, answers: entry.answers, missing })
    }

    /// Gives all of them up: their answers can not arrive any more.
    pub(super) fn end_all(&mut self) -> Vec<T> {
        std::mem::take(&mut self.entries).into_values().map(|entry| entry.tag).collect()
    }
}

impl<T> Entry<T> {
    fn keep(&mut self, answer: Answer) {
        if self.answers.len() < ANSWERS_MAX {
            self.answers.push(answer);
        }
    }

    fn missing(&self) -> usize {
        let acks = self.acks.as_ref().map_or(0, |acks| acks.announced.saturating_sub(acks.received));
        self.answers_left + acks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(expect: Expect) -> Pending<u8> {
        let mut pending = Pending::new();
        pending.insert("id", expect, 7).unwrap();
        pending
    }

    fn rooms(name: &str) -> Answer {
        Answer::Rooms(vec![name.to_owned()])
    }

    #[test]
    fn the_last_awaited_answer_ends_a_question() {
        let mut pending = pending(Expect::Answers(2));
        assert_eq!(pending.answer("other", rooms("a")), None);
        assert_eq!(pending.answer("id", rooms("a")), None);
        let ended = pending.answer("id", rooms("b")).unwrap();
        assert_eq!((ended.tag, ended.answers, ended.missing), (7, vec![rooms("a"), rooms("b")], 0));
        assert_eq!(pending.answer("id", rooms("c")), None);
        assert!(pending.is_empty());
    }

    #[test]
    fn acknowledgements_may_come_before_their_count() {
        let mut pending = pending(Expect::Counts(2));
        assert_eq!(pending.answer("id", Answer::Ack(None)), None);
        assert_eq!(pending.answer("id", Answer::ClientCount(0)), None);
        assert_eq!(pending.answer("id", Answer::ClientCount(2)), None);
        let ended = pending.answer("id", Answer::Ack(None)).unwrap();
        assert_eq!(ended.answers, [Answer::Ack(None), Answer::Ack(None)]);
    }

    #[test]
    fn members_without_dashboards_complete_a_question_by_counting_none() {
        let mut pending = pending(Expect::Counts(2));
        assert_eq!(pending.answer("id", Answer::ClientCount(0)), None);
        assert!(pending.answer("id", Answer::ClientCount(0)).is_some());
    }

    #[test]
    fn answers_of_the_wrong_kind_do_not_count() {
        let mut acks = pending(Expect::Counts(1));
        assert_eq!(acks.answer("id", rooms("a")), None);
        assert!(acks.answer("id", Answer::ClientCount(0)).is_some());
        let mut list = pending(Expect::Answers(1));
        assert_eq!(list.answer("id", Answer::ClientCount(0)), None);
        assert!(list.answer("id", rooms("a")).is_some());
    }

    #[test]
    fn a_question_given_up_tells_what_is_missing() {
        let mut pending = pending(Expect::Counts(2));
        pending.insert("other", Expect::Answers(1), 8).unwrap();
        assert_eq!(pending.answer("id", Answer::ClientCount(3)), None);
        let ended = pending.end("id").unwrap();
        assert_eq!((ended.tag, ended.missing), (7, 4), "one count and three acknowledgements");
        assert_eq!(pending.end("id"), None);
        assert_eq!(pending.end_all(), [8]);
        assert!(pending.is_empty());
    }

    #[test]
    fn an_id_is_taken_once_and_questions_are_bounded() {
        let mut pending = pending(Expect::Answers(1));
        assert_eq!(pending.insert("id", Expect::Answers(1), 9), Err(9));
        for number in 1..PENDING_MAX {
            pending.insert(&number.to_string(), Expect::Answers(1), 0).unwrap();
        }
        assert_eq!(pending.insert("one more", Expect::Answers(1), 9), Err(9));
    }
}
