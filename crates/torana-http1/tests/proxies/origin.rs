//! The server behind the proxy: either records what arrives, or answers with
//! given bytes.

use super::message::{Message, Side};
use std::io::{BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Answers 200 to everything and keeps it.
#[derive(Debug)]
pub struct Recorder(Arc<Mutex<Vec<Message>>>);

impl Recorder {
    pub fn at(path: &Path) -> Recorder {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&seen);
        serve(path, move |stream| {
            let mut reader = BufReader::new(&stream);
            while let Some(request) = Message::read(&mut reader, Side::Request) {
                // CONNECT is refused, so that what follows stays HTTP.
                let status = if request.start[0] == b"CONNECT" { "405 No" } else { "200 OK" };
                record.lock().unwrap().push(request);
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nX-Origin: 1\r\n\r\n");
                if (&stream).write_all(answer.as_bytes()).is_err() {
                    break;
                }
            }
        });
        Recorder(seen)
    }

    /// Whether a reply is one of these, and not the proxy's own.
    pub fn wrote(reply: &Message) -> bool {
        reply.field("x-origin").is_some()
    }

    /// The requests since the last call.
    pub fn take(&self) -> Vec<Message> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// Answers every request with the same bytes, and closes.
#[derive(Debug)]
pub struct Script(Arc<Mutex<Vec<u8>>>);

impl Script {
    pub fn at(path: &Path) -> Script {
        let answer = Arc::new(Mutex::new(Vec::new()));
        let script = Arc::clone(&answer);
        serve(path, move |mut stream| {
            if Message::read(&mut BufReader::new(&stream), Side::Request).is_some() {
                // A proxy that has seen enough may close first.
                let bytes = script.lock().unwrap().clone();
                let _ = stream.write_all(&bytes).and_then(|()| stream.shutdown(Shutdown::Write));
            }
        });
        Script(answer)
    }

    pub fn set(&self, bytes: &[u8]) {
        *self.0.lock().unwrap() = bytes.to_vec();
    }
}

/// A thread per connection, for as long as the test runs.
fn serve(path: &Path, connection: impl Fn(UnixStream) + Clone + Send + 'static) {
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let connection = connection.clone();
            std::thread::spawn(move || connection(stream));
        }
    });
}
