//! A child process with its output captured. Invariant: it is gone when its handle is dropped, and the kernel
//! kills it when the test process dies without dropping anything.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, LazyLock, Mutex,
        mpsc::{Sender, channel},
    },
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

/// Lines kept per process; older ones are dropped, so a chatty child cannot eat the machine.
const LINES_KEPT: usize = 200_000;

/// A running (or ended) child and everything it printed.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    output: Arc<Mutex<Vec<String>>>,
    ended: Option<ExitStatus>,
    quiet: bool,
}

impl Process {
    /// Starts `command` and captures both of its streams.
    pub fn start(name: &str, command: Command) -> Self {
        let mut child = spawn(command).unwrap_or_else(|err| panic!("cannot start {name}: {err}"));
        let output = Arc::new(Mutex::new(Vec::new()));
        capture(child.stdout.take().unwrap(), Arc::clone(&output));
        capture(child.stderr.take().unwrap(), Arc::clone(&output));
        Self { name: name.to_owned(), child, output, ended: None, quiet: false }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything printed so far, both streams, a line each.
    pub fn lines(&self) -> Vec<String> {
        self.output.lock().unwrap().clone()
    }

    /// Waits for the first line for which `found` gives a value; panics if the process ends before.
    pub async fn wait_line<T>(
        &mut self,
        limit: Duration,
        what: &str,
        mut found: impl FnMut(&str) -> Option<T>,
    ) -> T {
        match self.find_line(limit, &mut found).await {
            Some(value) => value,
            None => {
                panic!("{} did not print {what} within {limit:?}:\n{}", self.name, self.lines().join("\n"))
            }
        }
    }

    /// Like [`Process::wait_line`], but answers `None` when the process ends or time is over.
    pub async fn find_line<T>(
        &mut self,
        limit: Duration,
        mut found: impl FnMut(&str) -> Option<T>,
    ) -> Option<T> {
        let deadline = tokio::time::Instant::now() + limit;
        let mut seen = 0;
        loop {
            let over = self.try_wait().is_some();
            if over {
                // The reader threads may still hold the last lines.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            let lines: Vec<String> = self.output.lock().unwrap().get(seen..).unwrap_or_default().to_vec();
            seen += lines.len();
            if let Some(value) = lines.iter().find_map(|line| found(line)) {
                return Some(value);
            }
            if over || tokio::time::Instant::now() > deadline {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The exit status, if it ended.
    pub fn try_wait(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().unwrap();
        }
        self.ended
    }

    /// Waits for the end; panics with the output when `limit` is over.
    pub async fn wait_exit(&mut self, limit: Duration) -> ExitStatus {
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            if let Some(status) = self.try_wait() {
                // The reader threads may still hold the last lines.
                tokio::time::sleep(Duration::from_millis(50)).await;
                return status;
            }
            if tokio::time::Instant::now() > deadline {
                panic!("{} still runs after {limit:?}:\n{}", self.name, self.lines().join("\n"));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Sends a signal; does nothing when the process has ended.
    pub fn signal(&mut self, signal: Signal) {
        if self.try_wait().is_none() {
            let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
            kill_process(pid, signal).unwrap();
        }
    }

    /// Ends it at once and waits for the kernel to have collected it.
    pub fn kill9(&mut self) {
        if self.try_wait().is_none() {
            self.child.kill().unwrap();
            self.ended = Some(self.child.wait().unwrap());
        }
    }

    /// Does not print the output when the test fails.
    pub fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.quiet {
            let lines = self.lines();
            let tail = &lines[lines.len().saturating_sub(80)..];
            eprintln!("--- last lines of {} (pid {}):\n{}\n---", self.name, self.pid(), tail.join("\n"));
        }
        self.kill9();
    }
}

fn capture(stream: impl Read + Send + 'static, output: Arc<Mutex<Vec<String>>>) {
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while matches!(reader.read_until(b'\n', &mut line), Ok(length) if length > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            let mut output = output.lock().unwrap();
            if output.len() < LINES_KEPT {
                output.push(text);
            }
            line.clear();
        }
    });
}

type Order = (Command, Sender<std::io::Result<Child>>);

/// The kernel's "kill the child when its parent dies" watches the *thread* that forked, so one thread that
/// lives as long as the test process forks for all tests.
static FORKER: LazyLock<Mutex<Sender<Order>>> = LazyLock::new(|| {
    let (orders, incoming) = channel::<Order>();
    std::thread::Builder::new()
        .name("forker".to_owned())
        .spawn(move || {
            for (mut command, reply) in incoming {
                drop(reply.send(command.spawn()));
            }
        })
        .unwrap();
    Mutex::new(orders)
});

fn spawn(command: Command) -> std::io::Result<Child> {
    let mut command = bound_to_our_life(command);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (reply, answer) = channel();
    FORKER.lock().unwrap().send((command, reply)).unwrap();
    answer.recv().unwrap()
}

/// `setpriv` executes the program in its own place, so the process id is the program's.
fn bound_to_our_life(command: Command) -> Command {
    static SETPRIV: LazyLock<bool> = LazyLock::new(|| {
        Command::new("setpriv").arg("--version").output().is_ok_and(|out| out.status.success())
    });
    if !*SETPRIV {
        return command;
    }
    let mut bound = Command::new("setpriv");
    bound.args(["--pdeathsig", "KILL"]).arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => bound.env(key, value),
            None => bound.env_remove(key),
        };
    }
    if let Some(dir) = command.get_current_dir() {
        bound.current_dir(dir);
    }
    bound
}
