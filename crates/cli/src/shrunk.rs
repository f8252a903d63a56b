//! A file that another program makes shorter while it is read.
//!
//! Every read of a mapped file looks at its length first. What was read is used in place, though, and a page that is gone by
//! then makes the system send SIGBUS, which would end the process without a word.

/// From here on the process says which files shrank, and ends with the status of a failed statement. (Elsewhere than on
/// Linux SIGBUS has other meanings, too, and keeps its effect.)
pub(crate) fn say_so_before_the_end() {
    #[cfg(target_os = "linux")]
    if let Err(e) = linux::listen() {
        log::debug!("listening for SIGBUS failed, which then ends the process: {e}");
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io::{self, Read};
    use std::os::fd::IntoRawFd;
    use std::sync::atomic::{AtomicI32, Ordering};

    use crate::run::report;

    /// The end of a pipe at which the signal's handler wakes the thread that reports.
    static WAKE: AtomicI32 = AtomicI32::new(-1);

    pub(super) fn listen() -> io::Result<()> {
        let (mut woken, wake) = io::pipe()?;
        WAKE.store(wake.into_raw_fd(), Ordering::Relaxed);
        let wait = move || {
            if woken.read(&mut [0]).is_ok_and(|n| n > 0) {
                report(&message());
                std::process::exit(crate::FAILED.into());
            }
        };
        std::thread::Builder::new().name("shrunk files".to_owned()).spawn(wait)?;
        handle()
    }

    #[expect(unsafe_code, reason = "std has no way to handle a signal")]
    fn handle() -> io::Result<()> {
        // SAFETY: all zeros is a valid sigaction, of which what is needed is then set; the handler is of the type that
        // is asked for without SA_SIGINFO, and does only what a signal's handler may.
        let done = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_missing_page as extern "C" fn(libc::c_int) as usize;
            libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut())
        };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Holds the thread that met the missing page, since it could only meet it again, until the process has ended.
    #[expect(unsafe_code, reason = "a signal's handler may call little else")]
    extern "C" fn on_missing_page(_signal: libc::c_int) {
        // SAFETY: write and pause are safe in a signal's handler; the byte outlives the call.
        unsafe {
            libc::write(WAKE.load(Ordering::Relaxed), b"!".as_ptr().cast(), 1);
            loop {
                libc::pause();
            }
        }
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
