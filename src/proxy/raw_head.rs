//! What of a request's head only its raw bytes show: hyper takes a bare LF for a line's end, and hides a length that
//! another framing overrules. It looks on; refusing is `strict`'s business.

/// The longest name looked for, and its colon.
const NAME_BYTES_MAX: usize = "transfer-encoding:".len();

/// Follows one head through the reads that bring it.
#[derive(Debug, Default)]
pub struct RawHead {
    /// The start of the line under way, lower-case.
    start: [u8; NAME_BYTES_MAX],
    /// The line's bytes so far.
    line_bytes: usize,
    ends_in_cr: bool,
    lengths: u32,
    encodings: u32,
    bare_lf: bool,
    ended: bool,
}

impl RawHead {
    /// Of a head whose beginning nobody knows: nothing of it is looked at.
    pub fn not_judged() -> Self {
        Self {
            ended: true,
            ..Self::default()
        }
    }

    /// Looks at the next bytes, up to the end of the head.
    pub fn follow(&mut self, mut bytes: &[u8]) {
        while !self.ended {
            let Some(end) = memchr::memchr(b'\n', bytes) else {
                self.extend(bytes);
                return;
            };
            let (line, rest) = bytes.split_at(end);
            self.extend(line);
            self.end_line();
            bytes = rest.get(1..).unwrap_or_default();
        }
    }

    fn extend(&mut self, part: &[u8]) {
        let free = self.start.iter_mut().skip(self.line_bytes);
        for (to, from) in free.zip(part) {
            *to = from.to_ascii_lowercase();
        }
        self.line_bytes += part.len();
        if let Some(last) = part.last() {
            self.ends_in_cr = *last == b'\r';
        }
    }

    fn end_line(&mut self) {
        self.bare_lf |= !self.ends_in_cr;
        self.lengths += u32::from(self.start.starts_with(b"content-length:"));
        self.encodings += u32::from(self.start.starts_with(b"transfer-encoding:"));
        // Where the first line seen is empty, this is the end of a head that began before, and a body may follow.
        self.ended = self.line_bytes == usize::from(self.ends_in_cr);
        (self.start, self.line_bytes, self.ends_in_cr) = ([0; NAME_BYTES_MAX], 0, false);
    }

    /// Whether two readers could find two ends of this request (RFC 9112, 2.2 and 6.3), or of its lines.
    pub const fn is_ambiguous(&self) -> bool {
        self.bare_lf || self.lengths + self.encodings > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the sizes of the reads.
    fn is_ambiguous(head: &str) -> bool {
        let verdicts: Vec<bool> = (1..=head.len())
            .map(|size| {
                let mut raw = RawHead::default();
                head.as_bytes()
                    .chunks(size)
                    .for_each(|read| raw.follow(read));
                raw.is_ambiguous()
            })
            .collect();
        assert!(
            verdicts.iter().all(|verdict| *verdict == verdicts[0]),
            "{head:?}"
        );
        verdicts[0]
    }

    #[test]
    fn one_framing_is_clear() {
        for head in [
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\na\nb\n\nContent-Length: 1\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nX-Content-Length: 1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "\r\n\n\n{\"the end of a head\":\nand its body}",
        ] {
            assert!(!is_ambiguous(head), "{head:?}");
        }
    }

    #[test]
    fn two_framings_and_bare_line_feeds_are_ambiguous() {
        for head in [
            "POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\nHost: a\r\nCONTENT-LENGTH: 5\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
            "POST / HTTP/1.1\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\n\n",
        ] {
            assert!(is_ambiguous(head), "{head:?}");
        }
    }
}
