//! Blocks of a snapshot as they lie in the kernel's cache of the file: nothing is copied, and no new memory is needed, which
//! is half of what reading them costs.

#![expect(unsafe_code, reason = "nobody but us can know that a file that is mapped stays as it is")]

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use memmap2::{Mmap, MmapOptions};

use super::format::Source;

impl Source for Arc<File> {
    type Piece = Mmap;

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        self.read_exact_at(bytes, at)
    }

    fn piece(&self, at: u64, length: usize) -> io::Result<Mmap> {
        // SAFETY: a snapshot is written under another name and renamed, and never changed (`store`), and nobody but its
        // owner may write it. Who cuts it off all the same while it is mapped ends the process (SIGBUS): the next one
        // finds it damaged.
        let map = unsafe { MmapOptions::new().offset(at).len(length).map(&**self) }?;
        populate(&map).map(|()| map)
    }
}

/// Reads all of it at once, from a slow disk too, and tells what would otherwise end the process when it is looked at.
#[cfg(target_os = "linux")]
fn populate(map: &Mmap) -> io::Result<()> {
    match map.advise(memmap2::Advice::PopulateRead) {
        // Linux before 5.14 does not know it.
        Err(error) if error.kind() != io::ErrorKind::InvalidInput => {
            Err(io::Error::other(format!("it was cut off, or its disk failed ({error})")))
        }
        _ => Ok(()),
    }
}

/// Elsewhere each page is read when it is looked at.
#[cfg(not(target_os = "linux"))]
fn populate(_: &Mmap) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_piece_is_what_lies_there_wherever_it_begins() {
        let mut file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..20_000u32).flat_map(u32::to_le_bytes).collect();
        file.write_all(&bytes).unwrap();
        let file = Arc::new(file);
        for (at, length) in [(0, 80_000), (1, 10), (4_095, 2), (8_193, 60_000)] {
            assert_eq!(&file.piece(at, length).unwrap()[..], &bytes[usize::try_from(at).unwrap()..][..length]);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_was_cut_off_is_an_error_and_ends_nothing() {
        let file = Arc::new(tempfile::tempfile().unwrap());
        file.set_len(8_192).unwrap();
        let error = file.piece(0, 80_000).unwrap_err().to_string();
        assert!(error.starts_with("it was cut off, or its disk failed"), "{error}");
    }
}
