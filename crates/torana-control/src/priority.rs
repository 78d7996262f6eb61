//! Who waits for whom when there are fewer cores than work.

/// How much the control plane stands back: a tenth of a worker's share (sched(7)).
const NICE: i32 = 10;

/// Lets workers go first: what this thread does takes long and nobody's request
/// waits for it. Linux does this by thread.
pub(crate) fn lower_priority() {
    // One that is not allowed to is slower for others, and nothing else.
    let _ = rustix::process::setpriority_process(None, NICE);
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::getpriority_process;

    #[test]
    fn only_the_thread_itself_stands_back() {
        let before = getpriority_process(None).unwrap();
        let lowered = std::thread::spawn(|| {
            lower_priority();
            getpriority_process(None).unwrap()
        });
        assert_eq!(lowered.join().unwrap(), NICE.max(before));
        assert_eq!(getpriority_process(None).unwrap(), before);
    }
}
