//! What the benchmark's programs ask of the system: a tokio scheduler, and how long this process has run.

use std::io;
use std::time::Duration;

/// Which tokio scheduler a program runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheduler {
    /// One thread does everything.
    CurrentThread,
    /// A pool of work-stealing threads; `None` takes one for each core.
    MultiThread {
        /// Threads in the pool.
        workers: Option<usize>,
    },
}

impl Scheduler {
    /// From the values of `--runtime` and `--workers`.
    ///
    /// # Errors
    /// A line for the person at the command line, when `runtime` is no known name or `workers` is zero.
    pub fn from_flags(runtime: &str, workers: Option<usize>) -> Result<Self, String> {
        match (runtime, workers) {
            (_, Some(0)) => Err("--workers: at least 1".into()),
            ("current_thread", _) => Ok(Self::CurrentThread),
            ("multi_thread", workers) => Ok(Self::MultiThread { workers }),
            (other, _) => Err(format!("--runtime: {other} is neither current_thread nor multi_thread")),
        }
    }

    /// The runtime.
    ///
    /// # Errors
    /// What tokio says when it cannot start threads or timers.
    pub fn build(self) -> io::Result<tokio::runtime::Runtime> {
        match self {
            Self::CurrentThread => tokio::runtime::Builder::new_current_thread().enable_all().build(),
            Self::MultiThread { workers } => {
                let mut builder = tokio::runtime::Builder::new_multi_thread();
                if let Some(workers) = workers {
                    builder.worker_threads(workers);
                }
                builder.enable_all().build()
            }
        }
    }
}

/// How long all threads of this process ran so far, as the scheduler counts it (`/proc/self/task/*/schedstat`).
///
/// # Errors
/// When the kernel does not tell.
pub fn cpu_time() -> io::Result<Duration> {
    let mut nanoseconds = 0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let schedstat = std::fs::read_to_string(task?.path().join("schedstat"))?;
        let run = schedstat.split(' ').next().and_then(|field| field.parse::<u64>().ok());
        nanoseconds += run.ok_or(io::ErrorKind::InvalidData)?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}
