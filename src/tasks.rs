//! The tasks that the process cannot do without. Each has a name; one that ends before it was asked to,
//! or panics, is told to whoever owns them all, so that the process stops instead of serving a half.
//!
//! Invariant: as many tasks as parts, never one per connection; dropping the owner ends them all.

use std::{
    any::Any,
    collections::HashMap,
    fmt,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use tokio::{
    runtime::Handle,
    task::{Id, JoinError, JoinSet},
};

#[cfg(panic = "abort")]
compile_error!("one connection's panic must end that connection only: build with panic = \"unwind\"");

/// Owner of the essential tasks.
#[derive(Debug, Default)]
pub struct Tasks {
    running: Arc<Mutex<Running>>,
    /// Whose workers run what is spawned; those of the caller, if nothing is said.
    runtime: Option<Handle>,
}

#[derive(Debug, Default)]
struct Running {
    tasks: JoinSet<()>,
    names: HashMap<Id, &'static str>,
}

/// The end of an essential task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Which task.
    pub task: &'static str,
    /// What it panicked with, if it did.
    pub panic: Option<String>,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.panic {
            Some(message) => write!(f, "the task `{}` panicked: {message}", self.task),
            None => write!(f, "the task `{}` ended by itself", self.task),
        }
    }
}

impl std::error::Error for Ended {}

impl Tasks {
    /// The same tasks, where others are added that `runtime` runs.
    #[must_use]
    pub fn on(&self, runtime: &Handle) -> Self {
        Self { running: self.running.clone(), runtime: Some(runtime.clone()) }
    }

    /// Runs a task that must not end before it is asked to. `name` is for the log.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let mut running = self.running();
        let id = match &self.runtime {
            Some(runtime) => running.tasks.spawn_on(task, runtime).id(),
            None => running.tasks.spawn(task).id(),
        };
        running.names.insert(id, name);
    }

    /// The next end of a task, or `None` when none is left.
    pub async fn next_end(&self) -> Option<Ended> {
        poll_fn(|cx| self.running().poll_end(cx)).await
    }

    /// Waits for all of them; a panic on the way out is a failure like any other.
    ///
    /// # Errors
    /// The last task that panicked.
    pub async fn all_ended(&self) -> Result<(), Ended> {
        let mut outcome = Ok(());
        while let Some(ended) = self.next_end().await {
            if ended.panic.is_some() {
                tracing::error!(task = ended.task, %ended, "an essential task failed while stopping");
                outcome = Err(ended);
            }
        }
        outcome
    }

    /// Names of the tasks that run, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.running().names.values().copied().collect();
        names.sort_unstable();
        names
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Option<Ended>> {
        self.tasks.poll_join_next_with_id(cx).map(|joined| {
            let (id, panic) = match joined? {
                Ok((id, ())) => (id, None),
                Err(error) => (error.id(), Some(message_of(error))),
            };
            Some(Ended { task: self.names.remove(&id).unwrap_or("unknown"), panic })
        })
    }
}

fn message_of(error: JoinError) -> String {
    let Ok(payload) = error.try_into_panic() else { return "cancelled".to_owned() };
    text_of(&*payload)
}

fn text_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;

    #[tokio::test]
    async fn the_end_of_a_task_is_told_by_its_name_and_its_panic_by_its_message() {
        let tasks = Tasks::default();
        tasks.spawn("patient", std::future::pending());
        tasks.spawn("hasty", async {});
        let ended = tasks.next_end().await.unwrap();
        assert_eq!(ended, Ended { task: "hasty", panic: None });
        // One that is spawned while somebody waits is seen as well.
        let (ended, ()) = tokio::join!(tasks.next_end(), async {
            tokio::task::yield_now().await;
            tasks.spawn("broken", async { panic!("{} is too many", 7) });
        });
        let ended = ended.unwrap();
        assert_eq!((ended.task, ended.panic.as_deref()), ("broken", Some("7 is too many")));
        assert_eq!(ended.to_string(), "the task `broken` panicked: 7 is too many");
        assert_eq!(tasks.names(), ["patient"]);
    }

    #[tokio::test]
    async fn all_ended_waits_for_the_last_and_reports_a_panic_on_the_way() {
        let (tasks, stop) = (Tasks::default(), CancellationToken::new());
        for name in ["one", "two"] {
            tasks.spawn(name, stop.clone().cancelled_owned());
        }
        tasks.spawn("three", {
            let stop = stop.clone();
            async move {
                stop.cancelled().await;
                panic!("on the way out");
            }
        });
        stop.cancel();
        assert_eq!(tasks.all_ended().await.unwrap_err().task, "three");
        assert!(tasks.names().is_empty());
        assert_eq!(tasks.all_ended().await, Ok(()));
    }
}
