//! Sends a file to the disk while it is being written.

use std::fs::File;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

/// A thread that has the disk write what is in a file so far, whenever it is told to.
#[derive(Debug)]
pub(super) struct Writeback {
    wake: SyncSender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl Writeback {
    /// Starts the thread; nothing where the system has none to give, which costs time and nothing else.
    pub(super) fn of(file: &File) -> Option<Self> {
        let file = file.try_clone().ok()?;
        let (wake, woken) = sync_channel(1);
        let thread = Builder::new().name("writeback".into());
        let thread = thread.spawn(move || run(&file, &woken)).ok()?;
        Some(Self { wake, thread })
    }

    /// Tells the thread that there is more; returns whether it will look. Never waits.
    pub(super) fn send(&self) -> bool {
        self.wake.try_send(()).is_ok()
    }

    /// Waits for the thread to end.
    ///
    /// # Errors
    /// Fails where the disk did not take something: the system says so once, and not to whoever asks
    /// later.
    pub(super) fn finish(self) -> io::Result<()> {
        drop(self.wake);
        let ended = self.thread.join();
        ended.unwrap_or_else(|_| Err(io::Error::other("writing to the disk broke off")))
    }
}

fn run(file: &File, woken: &Receiver<()>) -> io::Result<()> {
    while woken.recv().is_ok() {
        file.sync_data()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_is_sent_while_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = File::create(folder.path().join("a")).unwrap();
        let writeback = Writeback::of(&file).unwrap();
        for _ in 0..10 {
            file.write_all(&[7; 1000]).unwrap();
            writeback.send();
        }
        writeback.finish().unwrap();
        assert_eq!(file.metadata().unwrap().len(), 10_000);
    }

    #[cfg(unix)]
    #[test]
    fn a_disk_that_takes_nothing_is_told_of_at_the_end() {
        // A pipe cannot be synced, which stands for a disk that fails.
        let (_reader, writer) = io::pipe().unwrap();
        let file = File::from(std::os::fd::OwnedFd::from(writer));
        let writeback = Writeback::of(&file).unwrap();
        assert!(writeback.send());
        assert!(writeback.finish().is_err());
    }
}
