//! Writing a file, all or nothing: beside its place, flushed to disk, then renamed.
//!
//! In: a path and bytes. Out: the whole file, or an error and the file that was there. A process that is killed in the
//! middle leaves the old file and perhaps its unfinished one, which a later writing to the same path removes.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Result, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What is older than the new file by this was left behind by a process that is gone: no file takes so long.
const LEFT_BEHIND: Duration = Duration::from_secs(3600);

/// Writes a file, all or nothing.
///
/// # Errors
/// Of the file system; the old file, if any, is then as it was, and nothing new is there.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    static WRITTEN: AtomicU64 = AtomicU64::new(0);
    // Other threads and processes may write to the same path: the last one wins, with a whole file.
    let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}-{number}.tmp", std::process::id()));
    let beside = Path::new(&beside);
    let written = (|| {
        let mut file = File::create(beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        remove_left_behind(path, &file);
        drop(file);
        std::fs::rename(beside, path)
    })();
    if written.is_err() {
        // What could not be finished is of no use to anyone; that it may not be there at all is no second error.
        let _gone = std::fs::remove_file(beside);
        return written;
    }
    // The name is on disk once the folder is. Where folders can't be flushed, the system does it when it likes.
    #[cfg(unix)]
    let _flushed = File::open(folder_of(path)).and_then(|folder| folder.sync_all());
    Ok(())
}

fn folder_of(path: &Path) -> PathBuf {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}

/// Removes unfinished files of this path from processes that are gone. What can't be removed stays.
fn remove_left_behind(path: &Path, newest: &File) {
    let (Some(name), Ok(folder)) = (path.file_name(), std::fs::read_dir(folder_of(path))) else { return };
    let Ok(now) = newest.metadata().and_then(|data| data.modified()) else { return };
    for entry in folder.flatten().filter(|entry| is_unfinished(&entry.file_name(), name)) {
        let modified = entry.metadata().and_then(|data| data.modified());
        if modified.is_ok_and(|then| now.duration_since(then).is_ok_and(|age| age > LEFT_BEHIND)) {
            let _gone = std::fs::remove_file(entry.path());
        }
    }
}

/// Whether `found` is named `of`, a dot, two numbers with a dash between them, and ".tmp".
fn is_unfinished(found: &OsStr, of: &OsStr) -> bool {
    let rest = found.as_encoded_bytes().strip_prefix(of.as_encoded_bytes());
    let numbers = rest.and_then(|rest| rest.strip_prefix(b".")?.strip_suffix(b".tmp"));
    numbers.is_some_and(|numbers| {
        numbers.split(|&byte| byte == b'-').all(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
            && numbers.contains(&b'-')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unfinished_files_of_the_same_path_are_taken_for_such() {
        let is = |found: &str| is_unfinished(OsStr::new(found), OsStr::new("model.dnn"));
        assert!(is("model.dnn.123-0.tmp"));
        for other in ["model.dnn", "model.dnn.tmp", "model.dnn.12a-0.tmp", "model.dnn.-.tmp", "a.dnn.1-1.tmp"] {
            assert!(!is(other), "{other}");
        }
    }

    #[test]
    fn what_an_old_process_left_behind_goes_away_and_what_is_young_stays() {
        let folder = std::env::temp_dir().join(format!("dnn-write-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("model.dnn");
        let (old, young) = (folder.join("model.dnn.1-0.tmp"), folder.join("model.dnn.2-0.tmp"));
        for leftover in [&old, &young] {
            std::fs::write(leftover, b"half").expect("a file");
        }
        let modified = std::fs::metadata(&old).and_then(|data| data.modified()).expect("a time");
        let file = File::options().write(true).open(&old).expect("a file");
        file.set_modified(modified - 2 * LEFT_BEHIND).expect("a time");
        write(&path, b"whole").expect("it fits");
        assert_eq!(std::fs::read(&path).expect("a file"), b"whole");
        assert!(!old.exists() && young.exists());
        std::fs::remove_dir_all(&folder).expect("a folder");
    }
}
