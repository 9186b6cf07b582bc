//! What is logged, read back by the thread that logged it.
//!
//! Owns the one subscriber of the test binary. It is installed for good and before the first log
//! line of a test that cares: tracing remembers for each line whether anybody listens, and a
//! subscriber that comes and goes races with the other tests.

use std::cell::RefCell;
use std::io::Write;
use std::sync::Once;

thread_local! {
    static WRITTEN: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

struct Mine;

impl Write for Mine {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        WRITTEN.with_borrow_mut(|written| written.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Listens from now on; more than once is the same as once.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(|| Mine)
            .init();
    });
}

/// What `work` logs on this thread, at `info` and above.
pub(crate) fn records(work: impl FnOnce()) -> String {
    install();
    WRITTEN.take();
    work();
    String::from_utf8(WRITTEN.take()).expect("log lines are text")
}
