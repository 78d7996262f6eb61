//! Notices that the files of a configuration have changed.
//!
//! The directories are watched (inotify on Linux), events are awaited to their
//! end, then the contents are compared: only a difference causes a reload.
//! Where the system has no watches left the contents are compared every few
//! seconds instead.

use super::{fingerprint, places};
use crate::notice;
use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant, SystemTime};

/// Silence after which a change is taken to be complete.
const QUIET: Duration = Duration::from_millis(100);

/// A change is looked at after this long even if there is no silence.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often to look where watching does not work.
const POLL: Duration = Duration::from_secs(2);

/// Tells the watching thread what to watch. The thread ends with it.
#[derive(Debug)]
pub struct Watcher(Sender<Message>);

#[derive(Debug)]
enum Message {
    /// Something happened in a watched directory.
    Stirred,
    /// Watch these, as they were at that time.
    Watch(Vec<PathBuf>, SystemTime),
    /// The [`Watcher`] is gone.
    End,
}

impl Watcher {
    /// Starts to watch nothing; `changed` is called for every change.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(changed: impl Fn() + Send + 'static) -> io::Result<Watcher> {
        let (sender, messages) = channel();
        let stir = sender.clone();
        let run = move || {
            let mut watching = Watching { places: Places::new(stir), seen: BTreeMap::new(), changed };
            watching.run(&messages);
        };
        std::thread::Builder::new().name("torana-watch".to_owned()).spawn(run)?;
        Ok(Watcher(sender))
    }

    /// From now on watch `files`, files and directories, which were read at
    /// `since` or later.
    pub fn watch(&self, files: Vec<PathBuf>, since: SystemTime) {
        // The thread ends only with this value.
        let _ = self.0.send(Message::Watch(files, since));
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.0.send(Message::End);
    }
}

struct Watching<F> {
    places: Places,
    /// What is watched, with the fingerprints last seen.
    seen: BTreeMap<PathBuf, u64>,
    changed: F,
}

impl<F: Fn()> Watching<F> {
    fn run(&mut self, messages: &Receiver<Message>) {
        loop {
            let message = if self.places.is_polling() {
                messages.recv_timeout(POLL)
            } else {
                messages.recv().map_err(RecvTimeoutError::from)
            };
            match message {
                Ok(Message::Watch(files, since)) => self.watch(files, since),
                Ok(Message::Stirred) => {
                    if !self.settle(messages) {
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.compare(),
                Ok(Message::End) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Waits until nothing happens any more, then compares. `false`: the end.
    fn settle(&mut self, messages: &Receiver<Message>) -> bool {
        let latest = Instant::now() + PATIENCE;
        while Instant::now() < latest {
            match messages.recv_timeout(QUIET) {
                Ok(Message::Stirred) => {}
                Ok(Message::Watch(files, since)) => self.watch(files, since),
                Err(RecvTimeoutError::Timeout) => break,
                Ok(Message::End) | Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        self.compare();
        true
    }

    fn watch(&mut self, files: Vec<PathBuf>, since: SystemTime) {
        let mut before = std::mem::take(&mut self.seen);
        // Fingerprints of files that were watched before are those of what was
        // seen: a change since is still one.
        self.seen = files.into_iter().map(|file| (file.clone(), before.remove(&file).unwrap_or(NEW))).collect();
        self.places.follow(self.seen.keys());
        let mut is_stale = false;
        for (file, seen) in self.seen.iter_mut().filter(|(_, seen)| **seen == NEW) {
            *seen = fingerprint::of(file);
            // Between being read and being watched, it may have changed.
            is_stale |= fingerprint::is_written_since(file, since);
        }
        if is_stale {
            (self.changed)();
        }
    }

    fn compare(&mut self) {
        // First, so that what happens from now on is noticed: a link may lead
        // elsewhere now, a directory be there that was not, or be another one.
        self.places.follow(self.seen.keys());
        let mut is_changed = false;
        for (file, seen) in &mut self.seen {
            let now = fingerprint::of(file);
            is_changed |= now != *seen;
            *seen = now;
        }
        if is_changed {
            (self.changed)();
        }
    }
}

/// Stands for a fingerprint that has not been taken; a file that happens to
/// have it is looked at once more.
const NEW: u64 = 0;

/// The watched directories.
struct Places {
    stir: Sender<Message>,
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    /// Directories that cannot be watched.
    is_partial: bool,
}

impl Places {
    fn new(stir: Sender<Message>) -> Places {
        let mut places = Places { stir, watcher: None, watched: BTreeSet::new(), is_partial: false };
        places.watcher = match notify::recommended_watcher(places.on_event()) {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                warn_of_polling(&error);
                None
            }
        };
        places
    }

    fn on_event(&self) -> impl Fn(notify::Result<Event>) + Send + 'static {
        let stir = self.stir.clone();
        move |event| {
            // An error, such as an overflowing queue, means that events were
            // missed: look.
            if event.as_ref().map_or(true, is_change) {
                let _ = stir.send(Message::Stirred);
            }
        }
    }

    fn is_polling(&self) -> bool {
        self.watcher.is_none() || self.is_partial
    }

    /// Watches the directories of `files` and no others.
    fn follow<'a>(&mut self, files: impl IntoIterator<Item = &'a PathBuf>) {
        let Some(watcher) = &mut self.watcher else { return };
        let mut wanted = BTreeSet::new();
        for file in files {
            places::add(file, &mut wanted);
        }
        for place in self.watched.difference(&wanted) {
            // It may be gone, and its watch with it.
            let _ = watcher.unwatch(place);
        }
        self.watched.retain(|place| wanted.contains(place));
        let is_known = std::mem::take(&mut self.is_partial);
        for place in wanted {
            // Watched ones again: a directory deleted and made anew has lost
            // its watch, and adding one twice is none more.
            match watcher.watch(&place, RecursiveMode::NonRecursive) {
                Ok(()) => drop(self.watched.insert(place)),
                Err(error) => {
                    if !is_known && !self.is_partial {
                        warn_of_polling(&error);
                    }
                    self.is_partial = true;
                }
            }
        }
    }
}

/// Not every access is one: comparing reads the files, and would cause itself. Nor is a write on Linux, which tells when
/// the file is closed: then it is complete, and a log beside the configuration is written and never closed.
fn is_change(event: &Event) -> bool {
    match event.kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        EventKind::Modify(ModifyKind::Data(_)) => !cfg!(target_os = "linux"),
        _ => true,
    }
}

fn warn_of_polling(error: &notify::Error) {
    notice::warn(&format!(
        "cannot watch for changes ({error}); looking every {} s instead. \
         Raising `sysctl fs.inotify.max_user_watches` and `max_user_instances` may help",
        POLL.as_secs()
    ));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let path = std::env::temp_dir().join(format!("torana-watch-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir_all(&path).unwrap();
            Scratch(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// A watcher that has taken up `files`.
    fn watching(files: Vec<PathBuf>) -> (Watcher, Receiver<()>) {
        let (sender, changes) = channel();
        let watcher = Watcher::start(move || sender.send(()).unwrap_or_default()).unwrap();
        // As if they had been read later, so that files just written do not count.
        watcher.watch(files, SystemTime::now() + Duration::from_secs(60));
        (watcher, changes)
    }

    fn expect_change(changes: &Receiver<()>) {
        changes.recv_timeout(Duration::from_secs(10)).expect("a change is noticed");
    }

    /// Whether changes were noticed, all of them.
    fn settled(changes: &Receiver<()>) -> bool {
        let mut noticed = false;
        while changes.recv_timeout(Duration::from_millis(400)).is_ok() {
            noticed = true;
        }
        noticed
    }

    /// Writes until it is noticed: the watch may be a moment away.
    fn write_until_noticed(path: &Path, changes: &Receiver<()>) {
        for attempt in 0..50 {
            std::fs::write(path, format!("attempt {attempt}")).unwrap();
            if settled(changes) {
                return;
            }
        }
        panic!("no change noticed");
    }

    #[test]
    fn a_written_file_and_a_replaced_one_are_noticed_and_a_touched_one_is_not() {
        let scratch = Scratch::new("write");
        let file = scratch.0.join("torana.yaml");
        std::fs::write(&file, "one").unwrap();
        let (watcher, changes) = watching(vec![file.clone()]);
        write_until_noticed(&file, &changes);
        let other = scratch.0.join("torana.yaml.new");
        std::fs::write(&other, "replaced").unwrap();
        std::fs::rename(&other, &file).unwrap();
        expect_change(&changes);
        std::fs::write(&file, "replaced").unwrap();
        assert!(changes.recv_timeout(Duration::from_millis(400)).is_err(), "the same content is no change");
        drop(watcher);
    }

    #[test]
    fn a_log_beside_the_configuration_stirs_nothing_while_it_is_written() {
        use std::io::Write as _;
        let scratch = Scratch::new("log");
        let (file, log) = (scratch.0.join("torana.yaml"), scratch.0.join("access.log"));
        std::fs::write(&file, "one").unwrap();
        let mut log = std::fs::File::create(log).unwrap();
        let (stir, messages) = channel();
        let mut places = Places::new(stir);
        places.follow([&file]);
        assert!(!places.is_polling());
        let write = |log: &mut std::fs::File| log.write_all(b"a line\n").unwrap();
        (0..10).for_each(|_| write(&mut log));
        if cfg!(target_os = "linux") {
            assert!(messages.recv_timeout(Duration::from_millis(300)).is_err());
        }
        drop(log);
        assert!(messages.recv_timeout(Duration::from_secs(10)).is_ok(), "it is complete now");
    }

    #[test]
    fn a_file_in_a_directory_that_comes_later_is_noticed() {
        let scratch = Scratch::new("later");
        let (directory, marker) = (scratch.0.join("conf.d"), scratch.0.join("marker"));
        let (_watcher, changes) = watching(vec![directory.join("torana.yaml"), marker.clone()]);
        write_until_noticed(&marker, &changes);
        std::fs::create_dir(&directory).unwrap();
        assert!(!settled(&changes), "there is no file yet");
        std::fs::write(directory.join("torana.yaml"), "at last").unwrap();
        expect_change(&changes);
    }

    #[test]
    fn a_directory_made_anew_is_watched_as_the_one_before() {
        let scratch = Scratch::new("anew");
        let (directory, file) = (scratch.0.join("conf.d"), scratch.0.join("conf.d/torana.yaml"));
        std::fs::create_dir(&directory).unwrap();
        let (_watcher, changes) = watching(vec![file.clone()]);
        write_until_noticed(&file, &changes);
        let content = std::fs::read(&file).unwrap();
        std::fs::remove_dir_all(&directory).unwrap();
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(&file, content).unwrap();
        settled(&changes);
        std::fs::write(&file, "something else").unwrap();
        expect_change(&changes);
    }

    #[test]
    fn a_config_map_update_is_noticed_each_time() {
        let scratch = Scratch::new("configmap");
        let version = |number: u32| {
            let directory = scratch.0.join(format!("..{number}"));
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join("torana.yaml"), format!("version {number}")).unwrap();
            symlink(format!("..{number}"), scratch.0.join("..tmp")).unwrap();
            std::fs::rename(scratch.0.join("..tmp"), scratch.0.join("..data")).unwrap();
        };
        version(1);
        symlink("..data/torana.yaml", scratch.0.join("torana.yaml")).unwrap();
        let marker = scratch.0.join("marker");
        let (_watcher, changes) = watching(vec![scratch.0.join("torana.yaml"), marker.clone()]);
        write_until_noticed(&marker, &changes);
        for number in 2..5 {
            version(number);
            expect_change(&changes);
        }
    }

    #[test]
    fn a_file_that_appears_and_a_directory_that_grows_are_noticed() {
        let scratch = Scratch::new("appear");
        let routes = scratch.0.join("routes");
        std::fs::create_dir_all(&routes).unwrap();
        let missing = scratch.0.join("certs/a.pem");
        let (_watcher, changes) = watching(vec![routes.clone(), missing.clone()]);
        let mut names = 0..50;
        while {
            let name = names.next().expect("a new name is noticed");
            std::fs::write(routes.join(format!("{name}.yaml")), "x").unwrap();
            !settled(&changes)
        } {}
        std::fs::create_dir_all(scratch.0.join("certs")).unwrap();
        std::fs::write(&missing, "pem").unwrap();
        expect_change(&changes);
        std::fs::write(&missing, "new").unwrap();
        expect_change(&changes);
    }

    #[test]
    fn without_watches_contents_are_compared() {
        let scratch = Scratch::new("poll");
        let file = scratch.0.join("torana.yaml");
        std::fs::write(&file, "one").unwrap();
        let (stir, _messages) = channel();
        let places = Places { stir, watcher: None, watched: BTreeSet::new(), is_partial: false };
        assert!(places.is_polling());
        let count = std::cell::Cell::new(0);
        let changed = || count.set(count.get() + 1);
        let mut watching = Watching { places, seen: BTreeMap::new(), changed };
        watching.watch(vec![file.clone()], SystemTime::now() + Duration::from_secs(60));
        watching.compare();
        assert_eq!(watching.places.watched, BTreeSet::new());
        std::fs::write(&file, "two").unwrap();
        watching.compare();
        watching.compare();
        drop(watching);
        assert_eq!(count.get(), 1);
    }

    #[test]
    fn a_new_file_written_while_it_was_read_causes_another_look() {
        let scratch = Scratch::new("race");
        let file = scratch.0.join("torana.yaml");
        std::fs::write(&file, "one").unwrap();
        let (sender, changes) = channel();
        let watcher = Watcher::start(move || sender.send(()).unwrap_or_default()).unwrap();
        watcher.watch(vec![file], SystemTime::now() - Duration::from_secs(60));
        expect_change(&changes);
    }
}
