//! Child processes that never outlive us.
//!
//! `Drop` does not run when a test process is killed, and a panic hook does not either. A pipe closes however its
//! owner dies, so what must go away with us waits on one.

use std::{
    io,
    process::{Child, Command, Stdio},
};

/// A child process that is killed when this is dropped, and when we die.
#[derive(Debug)]
pub(crate) struct Held {
    child: Child,
    /// Kills the child when our end of its standard input closes.
    guard: Child,
}

impl Held {
    pub(crate) fn spawn(command: &mut Command) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::null()).spawn()?;
        let guard = Command::new("sh")
            .args(["-c", "trap '' INT; read -r _; kill -9 \"$0\""])
            .arg(child.id().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match guard {
            Ok(guard) => Ok(Self { child, guard }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// Sends a signal by its name, such as `STOP`.
    pub(crate) fn signal(&self, name: &str) {
        // The shell's own kill: not every machine has a program of that name.
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "kill -s \"$0\" \"$1\"",
            name,
            &self.child.id().to_string(),
        ]);
        let sent = command.status();
        assert!(
            sent.is_ok_and(|status| status.success()),
            "cannot send {name} to {}",
            self.child.id()
        );
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // The guard first: afterwards the number may belong to somebody else.
        let _ = self.guard.kill();
        let _ = self.guard.wait();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
