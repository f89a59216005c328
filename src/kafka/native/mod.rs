//! librdkafka's calls that rust-rdkafka does not wrap: about rights, what a topic is, who a member is, records by
//! their topic's handle, many records at once or before their turn, and headers with any name.
//!
//! Invariants: everything that librdkafka makes for us is freed by the one [`Owned`] that holds it, or handed back; what an event
//! lends is copied before the event is freed; no pointer leaves this module. The calls block for at most about
//! [`TIMEOUT`].

#![expect(
    unsafe_code,
    reason = "rust-rdkafka 0.39 has no call for ACLs, descriptions of topics, member ids, topic handles and batches, \
              which librdkafka has; its records cannot be kept beside their consumer, and it panics on a header whose \
              name is no text"
)]

pub(super) mod acl;
pub(super) mod ahead;
pub(super) mod group;
pub(super) mod headers;
pub(super) mod produce;
pub(super) mod records;
pub(super) mod topic;

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode;

use super::client::Context;

/// For one request; librdkafka ends it by itself.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long its result, the time-out included, is waited for.
const PATIENCE: Duration = Duration::from_secs(15);

/// What librdkafka or the broker answered instead of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NativeError {
    pub(in crate::kafka) code: RDKafkaErrorCode,
    pub(in crate::kafka) text: String,
}

impl NativeError {
    fn local(code: RDKafkaErrorCode, text: &str) -> Self {
        NativeError { code, text: text.to_owned() }
    }
}

/// Something that librdkafka made and that must be freed once.
struct Owned<T> {
    pointer: NonNull<T>,
    free: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// Takes over what `make` gave; null means that it could not be made.
    fn new(pointer: *mut T, free: unsafe extern "C" fn(*mut T)) -> Result<Self, NativeError> {
        let made = |pointer| Owned { pointer, free };
        let failed = || NativeError::local(RDKafkaErrorCode::InvalidArgument, "librdkafka refuses the arguments");
        NonNull::new(pointer).map(made).ok_or_else(failed)
    }

    fn get(&self) -> *mut T {
        self.pointer.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer came from librdkafka's constructor that `free` belongs to, and only this frees it.
        unsafe { (self.free)(self.pointer.as_ptr()) }
    }
}

type Event = Owned<rd::rd_kafka_event_t>;

/// Sends one request and waits for its result. `send` is handed the client, the options and the queue, and must not
/// keep them.
fn ask(
    client: &BaseConsumer<Context>,
    operation: rd::rd_kafka_admin_op_t,
    authorized_operations: bool,
    send: impl FnOnce(*mut rd::rd_kafka_t, *const rd::rd_kafka_AdminOptions_t, *mut rd::rd_kafka_queue_t),
) -> Result<Event, NativeError> {
    let handle = client.client().native_ptr();
    // SAFETY: the handle lives as long as `client`, which outlives everything made here.
    let options =
        Owned::new(unsafe { rd::rd_kafka_AdminOptions_new(handle, operation) }, rd::rd_kafka_AdminOptions_destroy)?;
    // SAFETY: as above.
    let queue = Owned::new(unsafe { rd::rd_kafka_queue_new(handle) }, rd::rd_kafka_queue_destroy)?;
    let mut words: [c_char; 256] = [0; 256];
    // SAFETY: the options are alive; `words` is as long as it says. A refusal leaves the default time-out.
    unsafe {
        rd::rd_kafka_AdminOptions_set_request_timeout(
            options.get(),
            milliseconds(TIMEOUT),
            words.as_mut_ptr(),
            words.len(),
        );
    }
    if authorized_operations {
        // SAFETY: the options are alive; an error, if there is one, is ours to free.
        let error = unsafe { rd::rd_kafka_AdminOptions_set_include_authorized_operations(options.get(), 1) };
        drop(Owned::new(error, rd::rd_kafka_error_destroy));
    }
    send(handle, options.get(), queue.get());
    // SAFETY: the queue is alive; what it gives is ours to free.
    let event = unsafe { rd::rd_kafka_queue_poll(queue.get(), milliseconds(PATIENCE)) };
    let event = Owned::new(event, rd::rd_kafka_event_destroy)
        .map_err(|_| NativeError::local(RDKafkaErrorCode::OperationTimedOut, "no answer in time"))?;
    // SAFETY: the event is alive.
    let code = RDKafkaErrorCode::from(unsafe { rd::rd_kafka_event_error(event.get()) });
    if code == RDKafkaErrorCode::NoError {
        return Ok(event);
    }
    // SAFETY: the event is alive; its words are copied.
    let text = unsafe { text(rd::rd_kafka_event_error_string(event.get())) };
    Err(NativeError { code, text })
}

/// # Safety
/// `error` is null or points to a live error.
unsafe fn outcome(error: *const rd::rd_kafka_error_t) -> Result<(), NativeError> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: by the caller's promise; the words are copied.
    unsafe {
        match RDKafkaErrorCode::from(rd::rd_kafka_error_code(error)) {
            RDKafkaErrorCode::NoError => Ok(()),
            code => Err(NativeError { code, text: text(rd::rd_kafka_error_string(error)) }),
        }
    }
}

/// # Safety
/// `words` is null or points to a string that ends with a zero and is alive.
unsafe fn text(words: *const c_char) -> String {
    if words.is_null() {
        return String::new();
    }
    // SAFETY: by the caller's promise.
    unsafe { CStr::from_ptr(words).to_string_lossy().into_owned() }
}

/// # Safety
/// `pointer` is null, or points to `count` values that live as long as the slice is used.
unsafe fn lent_slice<'a, T>(pointer: *mut T, count: usize) -> &'a [T] {
    if pointer.is_null() {
        return &[];
    }
    // SAFETY: by the caller's promise.
    unsafe { std::slice::from_raw_parts(pointer, count) }
}

/// # Safety
/// `pointer` is null, or points to `length` bytes that live as long as the slice is used.
unsafe fn bytes<'a>(pointer: *const u8, length: usize) -> Option<&'a [u8]> {
    // SAFETY: by the caller's promise.
    (!pointer.is_null()).then(|| unsafe { std::slice::from_raw_parts(pointer, length) })
}

fn c_string(text: &str) -> Result<CString, NativeError> {
    CString::new(text)
        .map_err(|_| NativeError::local(RDKafkaErrorCode::InvalidArgument, "a name must not hold a zero byte"))
}

fn milliseconds(duration: Duration) -> c_int {
    c_int::try_from(duration.as_millis()).unwrap_or(c_int::MAX)
}
