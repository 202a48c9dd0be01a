//! An archive of one small file: the engine builds images from archives only.

/// The size of a record.
const RECORD: usize = 512;

/// An archive (ustar) that holds one file, readable by all. `name` has at most 100 bytes.
pub(super) fn of_one_file(name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = [0_u8; RECORD];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{:011o}\0", content.len()));
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut archive = header.to_vec();
    archive.extend_from_slice(content);
    // The file is filled up to a whole record, and two empty ones end the archive.
    archive.resize(archive.len().next_multiple_of(RECORD) + 2 * RECORD, 0);
    archive
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    /// The system's own tar reads it.
    #[test]
    fn an_archive_reads_back() {
        for content in ["", "FROM x\n", &"é".repeat(256), &"y".repeat(5000)] {
            let mut tar = Command::new("tar")
                .args(["-xO", "-f", "-", "Dockerfile"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let archive = of_one_file("Dockerfile", content.as_bytes());
            tar.stdin.take().unwrap().write_all(&archive).unwrap();
            let output = tar.wait_with_output().unwrap();
            assert!(output.status.success());
            assert_eq!(String::from_utf8(output.stdout).unwrap(), content);
        }
    }
}
