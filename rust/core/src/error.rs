//! What can go wrong at the door. After `Plan::new` and the checks of `fit` nothing returns an error until the end.

use std::fmt;
use std::path::PathBuf;

/// A refusal, with a message for the caller: what was given, what is needed.
#[derive(Debug)]
pub enum Error {
    /// Something given does not fit: a network, a loss, data, weights.
    Invalid(String),
    /// The memory can't be had; says for what, and how much.
    Memory(String),
    /// A file can't be written.
    File(PathBuf, std::io::Error),
    /// A function of whoever calls failed, or asked to stop; they know why.
    Raised,
}

impl Error {
    /// An [`Error::Invalid`] of this message.
    pub fn invalid(message: impl Into<String>) -> Error {
        Error::Invalid(message.into())
    }

    /// An [`Error::Memory`]: `what` needs `count` numbers of `size` bytes.
    pub fn memory(what: impl fmt::Display, count: Option<usize>, size: usize) -> Error {
        let bytes = count.and_then(|count| count.checked_mul(size));
        let bytes = bytes.map_or("more bytes than there are addresses".to_owned(), |b| format!("{b} bytes"));
        Error::Memory(format!("{what} needs {bytes}, which this machine does not give"))
    }
}

/// A number in few characters: 0.001, 20, 1e300.
pub fn short(x: f64) -> String {
    if x == 0.0 || (1e-4..1e7).contains(&x.abs()) { x.to_string() } else { format!("{x:e}") }
}

/// "1 row", "2 rows".
pub fn counted(n: usize, one: &str) -> String {
    format!("{n} {one}{}", if n == 1 { "" } else { "s" })
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Invalid(message) | Error::Memory(message) => f.write_str(message),
            Error::File(path, error) => write!(f, "{}: {error}", path.display()),
            Error::Raised => f.write_str("a function that was given failed"),
        }
    }
}

impl std::error::Error for Error {}
