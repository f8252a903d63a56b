//! A file that another program makes shorter while it is read.
//!
//! Every read of a mapped file looks at its length first. What was read is used in place, though, and a page that is gone by
//! then makes the system send SIGBUS, which would end the process without a word.

/// From here on the process says which files shrank, and ends with the status of a failed statement.
pub(crate) fn say_so_before_the_end() {
    #[cfg(unix)]
    if let Err(e) = unix::listen() {
        log::debug!("listening for SIGBUS failed, which then ends the process: {e}");
    }
}

#[cfg(unix)]
mod unix {
    use tokio::signal::unix::{SignalKind, signal};

    use crate::run::report;

    const SIGBUS: i32 = if cfg!(any(target_os = "linux", target_os = "android")) { 7 } else { 10 };

    /// Waits in a thread of its own: the one that met the missing page meets it again and again until the process ends.
    pub(super) fn listen() -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let mut signals = {
            let _entered = runtime.enter();
            signal(SignalKind::from_raw(SIGBUS))?
        };
        let wait = move || {
            if runtime.block_on(signals.recv()).is_some() {
                report(&message());
                std::process::exit(crate::FAILED.into());
            }
        };
        std::thread::Builder::new().name("shrunk files".to_owned()).spawn(wait).map(drop)
    }

    fn message() -> String {
        let files: Vec<String> = hyperslab::shrunk_files().iter().map(|path| path.display().to_string()).collect();
        let what = match files.as_slice() {
            [] => "a file that was being read".to_owned(),
            files => files.join(", "),
        };
        format!("{what} shrank while it was open; the statement cannot go on, and this process ends; start it again")
    }
}
