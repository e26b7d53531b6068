//! The second runtime of the process: updates on their way to viewers have one of their own.
//!
//! Invariant: what thousands of connections do at once, coming and going, never stands in a queue before an
//! update for those who stay. Between the two runtimes the kernel decides, which takes turns in milliseconds;
//! within one runtime a wave of 5,000 goodbyes would be a queue of 5,000 tasks.

use std::{fmt, io};

use tokio::runtime::{Builder, Handle, Runtime};

/// The runtime of sources, stores, the feed and dispatch.
pub(crate) struct UpdateRuntime {
    handle: Handle,
    /// Taken when dropped.
    runtime: Option<Runtime>,
}

impl UpdateRuntime {
    /// As many workers as there are processors.
    ///
    /// # Errors
    /// No thread can be had.
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread().thread_name("updates").enable_all().build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for UpdateRuntime {
    fn drop(&mut self) {
        // Its tasks have ended by then, or are given up; and a task may not wait for threads.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for UpdateRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UpdateRuntime")
    }
}
