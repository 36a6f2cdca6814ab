use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// A socket of ours in the place of the manager's.
struct Listener {
    socket: UnixDatagram,
    name: std::ffi::OsString,
    file: Option<PathBuf>,
}

/// A name that nobody else has.
fn unique() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("aiorun-manager-{}-{number}", std::process::id())
}

impl Listener {
    fn in_a_file() -> Self {
        let file = env::temp_dir().join(unique());
        Self::at(
            &SocketAddr::from_pathname(&file).unwrap(),
            file.clone().into(),
            Some(file),
        )
    }

    fn in_no_file() -> Self {
        let name = unique();
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        Self::at(&address, format!("@{name}").into(), None)
    }

    fn at(address: &SocketAddr, name: std::ffi::OsString, file: Option<PathBuf>) -> Self {
        let socket = UnixDatagram::bind_addr(address).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, name, file }
    }

    fn manager(&self, watchdog: Option<Duration>) -> Manager {
        Manager::new(self.name.clone(), watchdog)
    }

    /// What has come, without waiting: what was sent is there.
    fn heard(&self) -> Vec<String> {
        let mut heard = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            heard.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
        }
        heard
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            let _ = fs::remove_file(file);
        }
    }
}

const MINUTE: Option<Duration> = Some(Duration::from_secs(60));

#[test]
fn a_service_says_what_it_does() {
    for listener in [Listener::in_a_file(), Listener::in_no_file()] {
        let mut manager = listener.manager(None);
        assert!(manager.ready());
        manager.tell("running", None);
        assert!(!manager.ready());
        manager.tell("still running", None);
        manager.stopping(false);
        manager.tell("stopping", MINUTE);
        manager.tell("closed", Some(Duration::ZERO));
        let id = std::process::id();
        assert_eq!(
            listener.heard(),
            [
                &format!("READY=1\nMAINPID={id}\nSTATUS=running\n"),
                "STATUS=still running\n",
                "STOPPING=1\nSTATUS=stopping\nEXTEND_TIMEOUT_USEC=30000000\n",
                "STATUS=closed\nEXTEND_TIMEOUT_USEC=5000000\n",
            ]
        );
    }
}

#[test]
fn who_is_no_service_says_nothing() {
    let listener = Listener::in_no_file();
    let mut manager = listener.manager(None);
    manager.tell("running", None);
    manager.stopping(false);
    manager.tell("stopping", MINUTE);
    assert_eq!(listener.heard(), [""; 0]);
    assert_eq!(manager.next_time(), None);
    // A signal may be the manager's.
    let mut manager = listener.manager(None);
    manager.stopping(true);
    manager.tell("stopping", MINUTE);
    let heard = listener.heard();
    assert_eq!(
        heard,
        ["STOPPING=1\nSTATUS=stopping\nEXTEND_TIMEOUT_USEC=30000000\n"]
    );
}

#[test]
fn patience_is_asked_for_again_before_it_ends() {
    let listener = Listener::in_no_file();
    let mut manager = listener.manager(None);
    manager.ready();
    manager.tell("running", None);
    assert_eq!(manager.next_time(), None);
    let began = Instant::now();
    // Without a limit as with a long one.
    for left in [MINUTE, Some(Duration::MAX)] {
        manager.tell("stopping", left);
        let renew_at = manager.next_time().unwrap();
        assert!(renew_at >= began + LEASE / 2);
        assert!(renew_at <= Instant::now() + LEASE / 2);
        assert!(!manager.check_time(began), "before it is time");
        assert!(manager.check_time(renew_at));
    }
}

#[test]
fn a_watchdog_gets_two_signs_of_life_in_its_time() {
    let listener = Listener::in_no_file();
    let every = Duration::from_secs(10);
    let mut manager = listener.manager(Some(every * 2));
    for _ in 0..3 {
        let next = manager.next_time().unwrap();
        assert!(!manager.check_time(next));
        assert_eq!(listener.heard(), ["WATCHDOG=1\n"]);
        assert!(manager.next_time().unwrap() <= Instant::now() + every);
        assert!(!manager.check_time(next));
        assert_eq!(listener.heard(), [""; 0], "before it is time");
    }
    // With everything else too, who is a service and who is not.
    manager.tell("running", None);
    manager.stopping(true);
    manager.tell("stopping", Some(Duration::ZERO));
    let stopping = "STOPPING=1\nSTATUS=stopping\nEXTEND_TIMEOUT_USEC=5000000\nWATCHDOG=1\n";
    assert_eq!(listener.heard(), ["WATCHDOG=1\n", stopping]);
    assert!(listener.manager(Some(Duration::ZERO)).next_time().is_none());
    let mut patient = listener.manager(Some(Duration::MAX));
    patient.check_time(Instant::now());
    assert_eq!(patient.next_time(), None, "beyond the clock");
}

#[test]
fn a_manager_who_does_not_keep_up_hears_how_things_are_then() {
    let listener = Listener::in_no_file();
    let mut manager = listener.manager(None);
    manager.ready();
    let mut sent = 0;
    while manager.retry_at.is_none() {
        manager.tell(&format!("running {sent}"), None);
        sent += 1;
    }
    for status in ["running", "running along"] {
        manager.tell(status, None);
    }
    manager.stopping(false);
    manager.tell("stopping", MINUTE);
    let retry_at = manager.retry_at.unwrap();
    assert_eq!(manager.next_time(), Some(retry_at));
    // Still no room.
    manager.check_time(retry_at);
    let heard = listener.heard();
    assert_eq!(heard.len(), sent - 1);
    assert!(heard[0].starts_with("READY=1\n"));
    manager.check_time(manager.retry_at.unwrap());
    let stopping = "STOPPING=1\nSTATUS=stopping\nEXTEND_TIMEOUT_USEC=30000000\n";
    assert_eq!(listener.heard(), [stopping]);
    assert_eq!(manager.retry_at, None);
}

#[test]
fn a_manager_who_is_gone_is_told_in_vain_and_that_is_said_once() {
    let listener = Listener::in_a_file();
    let mut manager = listener.manager(None);
    manager.ready();
    manager.tell("running", None);
    assert_eq!(manager.trouble(), None, "somebody listens");
    let name = listener.name.display().to_string();
    drop(listener);
    manager.stopping(false);
    manager.tell("stopping", None);
    manager.tell("still stopping", None);
    assert_eq!(manager.next_time(), None);
    let trouble = manager.trouble().unwrap();
    assert!(
        trouble.contains(&name) && trouble.contains("No such file"),
        "{trouble}"
    );
    manager.tell("closed", None);
    assert_eq!(manager.trouble(), None);
}

#[test]
fn a_name_that_is_no_socket_is_named_when_there_is_something_to_tell() {
    let with_nul = OsString::from_vec(b"/a\0b".to_vec());
    let too_long = format!("/{}", "long".repeat(30)).into();
    for name in ["run/notify".into(), "vsock:2:1".into(), with_nul, too_long] {
        let mut manager = Manager::new(name, Some(Duration::from_secs(10)));
        assert_eq!(manager.trouble(), None);
        manager.check_time(manager.next_time().unwrap());
        let trouble = manager.trouble().unwrap();
        assert!(trouble.contains("NOTIFY_SOCKET is `"), "{trouble}");
        assert!(!trouble.contains('\0'), "{trouble:?}");
        manager.ready();
        manager.tell("running", None);
        assert_eq!(manager.trouble(), None);
    }
}
