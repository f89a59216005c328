//! A record's headers as Kafka has them: names of any bytes. What holds for the module above holds here.

use std::ffi::CStr;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use rdkafka::bindings as rd;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::BorrowedMessage;

use super::bytes;

/// The headers of a record, in order. One whose name is no text is left out: rust-rdkafka panics on it.
pub(in crate::kafka) fn headers<'m>(message: &'m BorrowedMessage<'_>) -> Headers<'m> {
    let mut list = ptr::null_mut();
    // SAFETY: the message is alive, and keeps the list.
    let code = unsafe { rd::rd_kafka_message_headers(message.ptr(), &raw mut list) };
    let list = (RDKafkaErrorCode::from(code) == RDKafkaErrorCode::NoError).then_some(list);
    Headers { list: list.and_then(NonNull::new), next: 0, message: PhantomData }
}

/// See [`headers`].
pub(in crate::kafka) struct Headers<'m> {
    list: Option<NonNull<rd::rd_kafka_headers_t>>,
    next: usize,
    message: PhantomData<&'m rd::rd_kafka_message_t>,
}

impl<'m> Iterator for Headers<'m> {
    type Item = (&'m str, Option<&'m [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let list = self.list?.as_ptr();
            let (mut name, mut value, mut length) = (ptr::null(), ptr::null(), 0);
            // SAFETY: the list lives as long as the message; name and value as long as the list, which nobody changes.
            let (name, value) = unsafe {
                let code = rd::rd_kafka_header_get_all(list, self.next, &raw mut name, &raw mut value, &raw mut length);
                if RDKafkaErrorCode::from(code) != RDKafkaErrorCode::NoError {
                    self.list = None;
                    return None;
                }
                (CStr::from_ptr(name), bytes(value.cast(), length))
            };
            self.next += 1;
            if let Ok(name) = name.to_str() {
                return Some((name, value));
            }
        }
    }
}
