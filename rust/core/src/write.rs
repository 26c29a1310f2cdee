//! Writing a file, all or nothing: beside its place, flushed to disk, then renamed.
//!
//! In: a path and bytes. Out: the whole file, or an error and the file that was there. A process that is killed in the
//! middle leaves the old file and perhaps its unfinished one, which a later writing to the same path removes.
//! As for a file that is opened to be written, a link leads to the file it names, a file that was there keeps its
//! permissions, and what is no file (a device, a pipe, an open file that has no name any more) is not replaced by one.

use std::ffi::OsStr;
use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io::{Error, ErrorKind, Result, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What is older than the new file by this was left behind by a process that is gone: no file takes so long.
const LEFT_BEHIND: Duration = Duration::from_secs(3600);

/// Links from link to link that are followed: as many as Linux does.
const MOST_LINKS: usize = 40;

/// Names that are tried for the unfinished file, where others are in the way.
const MOST_TRIES: u32 = 100;

/// Writes a file, all or nothing.
///
/// # Errors
/// Of the file system, or where something else than a file is there; it, or the old file, is then as it was, and nothing
/// new is there.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    static WRITTEN: AtomicU64 = AtomicU64::new(0);
    // Asked of the path as it was given: what the system names in its links (`/proc/self/fd/1`) need not be there.
    let old = found(path)?;
    let path = &target_of(path)?;
    if old.as_ref().is_some_and(|old| !old.is_file() && !old.is_dir()) {
        return Err(Error::new(ErrorKind::InvalidInput, "what is there is no file but a device or a pipe"));
    }
    // A folder is refused by `rename`, in the system's words.
    if !is_same(old.as_ref(), found(path)?.as_ref()) {
        return Err(Error::new(ErrorKind::InvalidInput, "it leads to an open file that has no such name; name a file"));
    }
    // Other threads and processes may write to the same path: the last one wins, with a whole file.
    // One in another container may have the same number, and the file of one that died may still be there.
    let mut tries = 0..MOST_TRIES;
    let (mut file, beside) = loop {
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(".{}-{}.tmp", std::process::id(), WRITTEN.fetch_add(1, Ordering::Relaxed)));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        if let Some(old) = &old {
            // From its first moment: who opens it then may read what is written later.
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode(&old.permissions()));
        }
        match options.open(&beside) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && tries.next().is_some() => {}
            opened => break (opened?, PathBuf::from(beside)),
        }
    };
    let beside = beside.as_path();
    let written = (|| {
        if let Some(old) = old {
            keep(old.permissions(), file.metadata()?.permissions(), |wanted| file.set_permissions(wanted))?;
        }
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

/// What the system says of what a path leads to; nothing where nothing is there.
fn found(path: &Path) -> Result<Option<Metadata>> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

/// Whether both are the same file, or both nothing.
fn is_same(one: Option<&Metadata>, other: Option<&Metadata>) -> bool {
    #[cfg(unix)]
    let number = |of: &Metadata| (std::os::unix::fs::MetadataExt::dev(of), std::os::unix::fs::MetadataExt::ino(of));
    #[cfg(not(unix))]
    let number = |_: &Metadata| ();
    one.map(number) == other.map(number)
}

/// Gives a file the permissions of the old one. Where the file system refuses, narrower ones will do; wider ones are an
/// error, since others could read what was hidden from them.
fn keep(wanted: Permissions, has: Permissions, set: impl FnOnce(Permissions) -> Result<()>) -> Result<()> {
    if has == wanted {
        return Ok(());
    }
    #[cfg(unix)]
    let is_wider = mode(&has) & !mode(&wanted) != 0;
    #[cfg(not(unix))]
    let is_wider = wanted.readonly() && !has.readonly();
    set(wanted).or_else(|error| if is_wider { Err(error) } else { Ok(()) })
}

/// Who may read, write and run a file.
#[cfg(unix)]
fn mode(permissions: &Permissions) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(permissions) & 0o777
}

/// What a path leads to if links are followed, whether it is there or not.
fn target_of(path: &Path) -> Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        match std::fs::read_link(&path) {
            // An absolute target stands for itself.
            Ok(target) => path = folder_of(&path).join(target),
            // No link, or nothing there.
            Err(_) => return Ok(path),
        }
    }
    Err(Error::other("too many links lead from one to the next"))
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
    fn an_unfinished_file_of_another_process_is_not_written_to() {
        let folder = std::env::temp_dir().join(format!("dnn-beside-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("model.dnn");
        let theirs: Vec<PathBuf> =
            (0..50).map(|number| folder.join(format!("model.dnn.{}-{number}.tmp", std::process::id()))).collect();
        theirs.iter().for_each(|theirs| std::fs::write(theirs, b"theirs").expect("a file"));
        write(&path, b"ours").expect("another name");
        assert_eq!(std::fs::read(&path).expect("the file"), b"ours");
        for theirs in &theirs {
            assert_eq!(std::fs::read(theirs).expect("their file"), b"theirs");
        }
        std::fs::remove_dir_all(&folder).expect("the folder goes");
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_permissions_stay_and_what_is_no_file_is_not_replaced() {
        use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
        let folder = std::env::temp_dir().join(format!("dnn-links-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let at = |name: &str| folder.join(name);

        std::fs::write(at("private"), b"old").expect("a file");
        std::fs::set_permissions(at("private"), PermissionsExt::from_mode(0o600)).expect("its own");
        symlink("private", at("link")).expect("a link");
        symlink(at("link"), at("chain")).expect("a link");
        symlink("absent", at("dangling")).expect("a link");
        for (given, meant) in [("private", "private"), ("chain", "private"), ("dangling", "absent")] {
            write(&at(given), given.as_bytes()).expect("it fits");
            assert_eq!(std::fs::read(at(meant)).expect("a file"), given.as_bytes());
        }
        assert_eq!(std::fs::metadata(at("private")).expect("a file").permissions().mode() & 0o777, 0o600);
        assert!(at("chain").is_symlink() && at("dangling").is_symlink());

        symlink("round", at("round")).expect("a link");
        assert!(write(&at("round"), b"").is_err());
        assert_eq!(write(&folder, b"").expect_err("a folder").kind(), ErrorKind::IsADirectory);
        let _pipe = std::os::unix::net::UnixListener::bind(at("pipe")).expect("a socket");
        assert_eq!(write(&at("pipe"), b"").expect_err("no file").kind(), ErrorKind::InvalidInput);
        assert!(std::fs::metadata(at("pipe")).expect("still there").file_type().is_socket());
        assert_eq!(std::fs::read_dir(&folder).expect("a folder").count(), 7, "nothing unfinished is left");
        std::fs::remove_dir_all(&folder).expect("a folder");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_open_file_that_has_lost_its_name_is_refused_and_nothing_is_left() {
        use std::os::fd::AsRawFd;
        let folder = std::env::temp_dir().join(format!("dnn-open-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let (path, count) = (folder.join("model"), || std::fs::read_dir(&folder).expect("a folder").count());
        let file = File::create(&path).expect("a file");
        let open = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        write(&open, b"by its number").expect("it has a name");
        assert_eq!(std::fs::read(&path).expect("a file"), b"by its number");
        // What was open has lost its name to the new file; the system says so with " (deleted)".
        for also in ["", "model (deleted)"] {
            if !also.is_empty() {
                std::fs::write(folder.join(also), b"another").expect("a file");
            }
            let before = count();
            assert_eq!(write(&open, b"").expect_err("no name").kind(), ErrorKind::InvalidInput);
            assert_eq!(count(), before);
        }
        assert_eq!(std::fs::read(folder.join("model (deleted)")).expect("a file"), b"another");
        let (_reads, writes) = std::io::pipe().expect("a pipe");
        let open = PathBuf::from(format!("/proc/self/fd/{}", writes.as_raw_fd()));
        assert!(write(&open, b"").expect_err("a pipe").to_string().contains("device or a pipe"));
        std::fs::remove_dir_all(&folder).expect("a folder");
    }

    #[cfg(unix)]
    #[test]
    fn permissions_that_cannot_be_set_are_an_error_only_where_others_could_read_more() {
        use std::os::unix::fs::PermissionsExt;
        let of = Permissions::from_mode;
        let refuse = |_| Err(Error::from(ErrorKind::PermissionDenied));
        assert!(keep(of(0o600), of(0o600), |_| unreachable!("they are equal")).is_ok());
        assert!(keep(of(0o644), of(0o600), refuse).is_ok());
        assert!(keep(of(0o600), of(0o644), refuse).is_err());
        assert!(keep(of(0o640), of(0o604), refuse).is_err());
        let mut given = None;
        keep(of(0o600), of(0o644), |wanted| {
            given = Some(wanted.mode());
            Ok(())
        })
        .expect("it was set");
        assert_eq!(given, Some(0o600));
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
