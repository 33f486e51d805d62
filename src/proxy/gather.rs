//! Small writes made one: a head and a short body are in two buffers, and copying them costs less than what the system does for
//! a list of buffers. Long bodies are not copied.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

/// Up to here copying is cheaper.
const COPIED_BYTES_MAX: usize = 4096;

thread_local! {
    static COPY: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Writes what is in the buffers, as [`AsyncWrite::poll_write_vectored`] does, in one buffer where that is small.
pub fn poll_write<S: AsyncWrite + Unpin>(
    stream: &mut S,
    cx: &mut Context<'_>,
    bufs: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    if let [only] = bufs {
        return Pin::new(stream).poll_write(cx, only);
    }
    let bytes: usize = bufs.iter().map(|buf| buf.len()).sum();
    if bytes > COPIED_BYTES_MAX {
        return Pin::new(stream).poll_write_vectored(cx, bufs);
    }
    COPY.with_borrow_mut(|copy| {
        copy.clear();
        for buf in bufs {
            copy.extend_from_slice(buf);
        }
        Pin::new(stream).poll_write(cx, copy)
    })
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn the_bytes_come_in_their_order_however_many_there_are() {
        for length in [0, 1, 100, COPIED_BYTES_MAX, 100_000] {
            let (mut near, mut far) = tokio::io::duplex(1 << 20);
            let (head, body) = (vec![b'h'; 50], vec![b'b'; length]);
            let bufs = [IoSlice::new(&head), IoSlice::new(&body)];
            let wrote = std::future::poll_fn(|cx| poll_write(&mut near, cx, &bufs)).await;
            let wrote = wrote.unwrap();
            drop(near);
            let mut got = Vec::new();
            far.read_to_end(&mut got).await.unwrap();
            let all = [head.as_slice(), &body].concat();
            assert!(wrote >= 50 && got == all[..wrote], "{length}");
        }
    }
}
