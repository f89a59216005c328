//! Blocks of a snapshot as they lie in the kernel's cache of the file: as long as they can be mapped nothing is copied, and no
//! new memory is needed, which is half of what reading them costs.

#![expect(unsafe_code, reason = "nobody but us can know that a file that is mapped stays as it is")]

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use memmap2::{Mmap, MmapMut, MmapOptions};

use super::format::Source;

impl Source for Arc<File> {
    type Piece = Mmap;

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        self.read_exact_at(bytes, at)
    }

    fn piece(&self, at: u64, length: usize) -> io::Result<Mmap> {
        // What cannot be mapped may be read all the same, or says why not.
        mapped(self, at, length).or_else(|_| copied(self, at, length))
    }
}

fn mapped(file: &File, at: u64, length: usize) -> io::Result<Mmap> {
    // SAFETY: a snapshot is written under another name and renamed, and never changed (`store`), and nobody but its
    // owner may write it. Whoever changes it all the same changes bytes, which rows bear and a checksum finds; whoever cuts
    // it off ends the process (SIGBUS).
    let map = unsafe { MmapOptions::new().offset(at).len(length).map(file) }?;
    populate(&map).map(|()| map)
}

/// Reads all of it at once, so that what cannot be read is an error and not a signal. Linux before 5.14 refuses.
#[cfg(target_os = "linux")]
fn populate(map: &Mmap) -> io::Result<()> {
    map.advise(memmap2::Advice::PopulateRead)
}

#[cfg(not(target_os = "linux"))]
fn populate(_: &Mmap) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

fn copied(file: &File, at: u64, length: usize) -> io::Result<Mmap> {
    let mut map = MmapMut::map_anon(length)?;
    file.read_exact_at(&mut map, at)?;
    map.make_read_only()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_piece_is_what_lies_there_wherever_it_begins_and_however_it_came() {
        let mut file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..20_000u32).flat_map(u32::to_le_bytes).collect();
        file.write_all(&bytes).unwrap();
        let shared = Arc::new(file.try_clone().unwrap());
        for (at, length) in [(0, 80_000), (1, 10), (4_095, 2), (8_193, 60_000)] {
            let expected = &bytes[usize::try_from(at).unwrap()..][..length];
            assert_eq!(&shared.piece(at, length).unwrap()[..], expected);
            assert_eq!(&copied(&file, at, length).unwrap()[..], expected);
        }
    }

    #[test]
    fn what_was_cut_off_is_an_error_and_ends_nothing() {
        let file = Arc::new(tempfile::tempfile().unwrap());
        file.set_len(8_192).unwrap();
        assert_eq!(file.piece(0, 80_000).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
