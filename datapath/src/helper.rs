//! A thread that does for workers what no packet may wait for: taking memory. One for the whole datapath.
//!
//! A worker that asks never waits: its request goes into a queue without a lock. What a request needs (memory that a worker may give up
//! meanwhile) it holds itself. Requests that are left when the thread ends are not served.

use crossbeam_queue::SegQueue;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::Arc;
use std::thread::{JoinHandle, Thread};

type Request = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    requests: SegQueue<Request>,
    stop: AtomicBool,
}

/// Where a worker asks. Keeps nothing alive: without the thread, requests are not served.
#[derive(Clone)]
pub struct Helper {
    queue: Arc<Queue>,
    thread: Thread,
}

impl Helper {
    /// Has this done soon, or never.
    pub fn run(&self, request: impl FnOnce() + Send + 'static) {
        if !self.queue.stop.load(Ordering::Relaxed) {
            self.queue.requests.push(Box::new(request));
            self.thread.unpark();
        }
    }
}

/// The thread, which ends with this.
pub struct HelperThread {
    helper: Helper,
    thread_id: libc::pid_t,
    thread: Option<JoinHandle<()>>,
}

impl HelperThread {
    /// Starts it.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn start() -> std::io::Result<Self> {
        let queue = Arc::<Queue>::default();
        let (tell, told) = sync_channel(1);
        let served = queue.clone();
        let thread = std::thread::Builder::new().name("helper".to_owned()).spawn(move || {
            let _ = tell.send(crate::sys::thread_id());
            // Whoever changes something unparks afterwards: nothing is missed between a look and going to sleep.
            while !served.stop.load(Ordering::Acquire) {
                match served.requests.pop() {
                    Some(request) => request(),
                    None => std::thread::park(),
                }
            }
        })?;
        let thread_id = told.recv().map_err(std::io::Error::other)?;
        let helper = Helper { queue, thread: thread.thread().clone() };
        Ok(Self { helper, thread_id, thread: Some(thread) })
    }

    /// Where a worker asks.
    pub fn helper(&self) -> Helper {
        self.helper.clone()
    }

    /// The kernel's number of it.
    pub fn thread_id(&self) -> libc::pid_t {
        self.thread_id
    }

    /// Waits until all that was asked for before is done.
    #[cfg(test)]
    pub fn settle(&self) {
        let (done, all) = sync_channel::<()>(1);
        self.helper.run(move || drop(done));
        let _ = all.recv();
    }
}

impl Drop for HelperThread {
    fn drop(&mut self) {
        self.helper.queue.stop.store(true, Ordering::Release);
        self.helper.thread.unpark();
        if let Some(t) = self.thread.take() {
            let _ = t.join();
        }
    }
}
