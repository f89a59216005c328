//! librdkafka's calls about rights, which rust-rdkafka does not wrap.
//!
//! Invariants: everything that librdkafka makes for us is freed by the one [`Owned`] that holds it; what an event
//! lends is copied before the event is freed; no pointer leaves this module. The calls block for at most about
//! [`TIMEOUT`].

#![expect(unsafe_code, reason = "rust-rdkafka 0.39 has no call for ACLs and authorized operations; librdkafka has")]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr::{self, NonNull};
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode;

use super::{Acl, Allowed, Kind, Operation, Pattern, Permission, Resource};
use crate::kafka::client::Context;

/// For one request; librdkafka ends it by itself.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long its result, the time-out included, is waited for.
const PATIENCE: Duration = Duration::from_secs(15);

/// What librdkafka or the broker answered instead of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NativeError {
    pub(super) code: RDKafkaErrorCode,
    pub(super) text: String,
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

/// All rights of the cluster.
pub(super) fn describe(client: &BaseConsumer<Context>) -> Result<Vec<Acl>, NativeError> {
    let mut words: [c_char; 256] = [0; 256];
    // SAFETY: null stands for any name, principal and host; `words` is as long as it says.
    let filter = unsafe {
        rd::rd_kafka_AclBindingFilter_new(
            rd::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_ANY,
            ptr::null(),
            rd::rd_kafka_ResourcePatternType_t::RD_KAFKA_RESOURCE_PATTERN_ANY,
            ptr::null(),
            ptr::null(),
            rd::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_ANY,
            rd::rd_kafka_AclPermissionType_t::RD_KAFKA_ACL_PERMISSION_TYPE_ANY,
            words.as_mut_ptr(),
            words.len(),
        )
    };
    let filter = Owned::new(filter, rd::rd_kafka_AclBinding_destroy)?;
    let operation = rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBEACLS;
    let event = ask(client, operation, false, |handle, options, queue| {
        // SAFETY: all four are alive; librdkafka copies the filter and the options.
        unsafe { rd::rd_kafka_DescribeAcls(handle, filter.get(), options, queue) }
    })?;
    let mut count = 0;
    // SAFETY: the event is alive and, because the request was DescribeAcls, of that kind; what it lends is copied
    // before it is freed.
    let acls = unsafe {
        let result = rd::rd_kafka_event_DescribeAcls_result(event.get());
        let lent = rd::rd_kafka_DescribeAcls_result_acls(result, &raw mut count);
        lent_slice(lent, count).iter().filter_map(|binding| acl_of(*binding)).collect()
    };
    Ok(acls)
}

/// Creates each of them.
pub(super) fn create(
    client: &BaseConsumer<Context>,
    acls: &[Acl],
) -> Result<Vec<Result<(), NativeError>>, NativeError> {
    let bindings = bindings(acls, rd::rd_kafka_AclBinding_new)?;
    let mut pointers: Vec<_> = bindings.iter().map(Owned::get).collect();
    let operation = rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_CREATEACLS;
    let event = ask(client, operation, false, |handle, options, queue| {
        // SAFETY: all are alive and counted; librdkafka copies the bindings and the options.
        unsafe { rd::rd_kafka_CreateAcls(handle, pointers.as_mut_ptr(), pointers.len(), options, queue) }
    })?;
    let mut count = 0;
    // SAFETY: as in `describe`, for CreateAcls.
    let results = unsafe {
        let result = rd::rd_kafka_event_CreateAcls_result(event.get());
        let lent = rd::rd_kafka_CreateAcls_result_acls(result, &raw mut count);
        lent_slice(lent, count).iter().map(|one| outcome(rd::rd_kafka_acl_result_error(*one))).collect()
    };
    Ok(results)
}

/// Deletes each of them.
pub(super) fn delete(
    client: &BaseConsumer<Context>,
    acls: &[Acl],
) -> Result<Vec<Result<(), NativeError>>, NativeError> {
    let filters = bindings(acls, rd::rd_kafka_AclBindingFilter_new)?;
    let mut pointers: Vec<_> = filters.iter().map(Owned::get).collect();
    let operation = rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DELETEACLS;
    let event = ask(client, operation, false, |handle, options, queue| {
        // SAFETY: all are alive and counted; librdkafka copies the filters and the options.
        unsafe { rd::rd_kafka_DeleteAcls(handle, pointers.as_mut_ptr(), pointers.len(), options, queue) }
    })?;
    let mut count = 0;
    // SAFETY: as in `describe`, for DeleteAcls.
    let results = unsafe {
        let result = rd::rd_kafka_event_DeleteAcls_result(event.get());
        let lent = rd::rd_kafka_DeleteAcls_result_responses(result, &raw mut count);
        let error = |one: &*const _| outcome(rd::rd_kafka_DeleteAcls_result_response_error(*one));
        lent_slice(lent, count).iter().map(error).collect()
    };
    Ok(results)
}

/// What the client may do with each of these topics.
pub(super) fn allowed(
    client: &BaseConsumer<Context>,
    topics: &[String],
) -> Result<BTreeMap<String, Allowed>, NativeError> {
    let names = topics.iter().map(|topic| c_string(topic)).collect::<Result<Vec<CString>, NativeError>>()?;
    let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    // SAFETY: the names are alive and counted; librdkafka copies them.
    let topics = unsafe { rd::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len()) };
    let topics = Owned::new(topics, rd::rd_kafka_TopicCollection_destroy)?;
    let operation = rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
    let event = ask(client, operation, true, |handle, options, queue| {
        // SAFETY: all are alive; librdkafka copies the collection and the options.
        unsafe { rd::rd_kafka_DescribeTopics(handle, topics.get(), options, queue) }
    })?;
    let mut count = 0;
    // SAFETY: as in `describe`, for DescribeTopics.
    let results = unsafe {
        let result = rd::rd_kafka_event_DescribeTopics_result(event.get());
        let lent = rd::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        let described = |topic: &*const _| (text(rd::rd_kafka_TopicDescription_name(*topic)), allowed_of(*topic));
        lent_slice(lent, count).iter().map(described).collect()
    };
    Ok(results)
}

/// What the client may do with the cluster itself; `None` when the broker does not tell.
pub(super) fn allowed_on_cluster(client: &BaseConsumer<Context>) -> Result<Option<BTreeSet<Operation>>, NativeError> {
    let operation = rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECLUSTER;
    let event = ask(client, operation, true, |handle, options, queue| {
        // SAFETY: all are alive; librdkafka copies the options.
        unsafe { rd::rd_kafka_DescribeCluster(handle, options, queue) }
    })?;
    let mut count = 0;
    // SAFETY: as in `describe`, for DescribeCluster.
    unsafe {
        let result = rd::rd_kafka_event_DescribeCluster_result(event.get());
        let lent = rd::rd_kafka_DescribeCluster_result_authorized_operations(result, &raw mut count);
        Ok(operations(lent, count))
    }
}

/// # Safety
/// `lent` is null, or points to `count` values.
unsafe fn operations(lent: *const rd::rd_kafka_AclOperation_t, count: usize) -> Option<BTreeSet<Operation>> {
    // Null stands for a broker that does not tell; its count is then no count.
    if lent.is_null() {
        return None;
    }
    // SAFETY: by the caller's promise.
    let all = unsafe { std::slice::from_raw_parts(lent, count) };
    Some(all.iter().filter_map(|operation| operation_of(*operation)).collect())
}

/// # Safety
/// `topic` points to a live description.
unsafe fn allowed_of(topic: *const rd::rd_kafka_TopicDescription_t) -> Allowed {
    // SAFETY: by the caller's promise; the array belongs to the description and is as long as `count` says.
    unsafe {
        match outcome(rd::rd_kafka_TopicDescription_error(topic)) {
            Err(error) if error.code == RDKafkaErrorCode::TopicAuthorizationFailed => return Allowed::Nothing,
            Err(_) => return Allowed::Unknown,
            Ok(()) => {}
        }
        let mut count = 0;
        let lent = rd::rd_kafka_TopicDescription_authorized_operations(topic, &raw mut count);
        operations(lent, count).map_or(Allowed::Unknown, Allowed::These)
    }
}

/// The constructor of a binding, or of a filter that matches one exactly.
type Constructor = unsafe extern "C" fn(
    rd::rd_kafka_ResourceType_t,
    *const c_char,
    rd::rd_kafka_ResourcePatternType_t,
    *const c_char,
    *const c_char,
    rd::rd_kafka_AclOperation_t,
    rd::rd_kafka_AclPermissionType_t,
    *mut c_char,
    usize,
) -> *mut rd::rd_kafka_AclBinding_t;

fn bindings(acls: &[Acl], make: Constructor) -> Result<Vec<Owned<rd::rd_kafka_AclBinding_t>>, NativeError> {
    let binding = |acl: &Acl| {
        let (name, principal, host) = (c_string(&acl.resource.name)?, c_string(&acl.principal)?, c_string(&acl.host)?);
        let mut words: [c_char; 256] = [0; 256];
        // SAFETY: the strings are alive and copied; `words` is as long as it says.
        let made = unsafe {
            make(
                kind_to(acl.resource.kind),
                name.as_ptr(),
                pattern_to(acl.resource.pattern),
                principal.as_ptr(),
                host.as_ptr(),
                operation_to(acl.operation),
                permission_to(acl.permission),
                words.as_mut_ptr(),
                words.len(),
            )
        };
        Owned::new(made, rd::rd_kafka_AclBinding_destroy)
    };
    acls.iter().map(binding).collect()
}

/// # Safety
/// `binding` points to a live binding.
unsafe fn acl_of(binding: *const rd::rd_kafka_AclBinding_t) -> Option<Acl> {
    // SAFETY: by the caller's promise; the strings are copied. librdkafka keeps each value within its enumeration.
    unsafe {
        Some(Acl {
            principal: text(rd::rd_kafka_AclBinding_principal(binding)),
            resource: Resource {
                kind: kind_of(rd::rd_kafka_AclBinding_restype(binding))?,
                name: text(rd::rd_kafka_AclBinding_name(binding)),
                pattern: pattern_of(rd::rd_kafka_AclBinding_resource_pattern_type(binding))?,
            },
            operation: operation_of(rd::rd_kafka_AclBinding_operation(binding))?,
            permission: permission_of(rd::rd_kafka_AclBinding_permission_type(binding))?,
            host: text(rd::rd_kafka_AclBinding_host(binding)),
        })
    }
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

fn c_string(text: &str) -> Result<CString, NativeError> {
    CString::new(text)
        .map_err(|_| NativeError::local(RDKafkaErrorCode::InvalidArgument, "a name must not hold a zero byte"))
}

fn milliseconds(duration: Duration) -> c_int {
    c_int::try_from(duration.as_millis()).unwrap_or(c_int::MAX)
}

/// Both directions between an enumeration of ours and librdkafka's.
macro_rules! translate {
    ($ours:ty, $theirs:ty, $to:ident, $of:ident, { $($one:path => $other:path),+ $(,)? }) => {
        fn $to(value: $ours) -> $theirs {
            match value { $($one => $other),+ }
        }

        fn $of(value: $theirs) -> Option<$ours> {
            match value { $($other => Some($one),)+ _ => None }
        }
    };
}

translate!(Kind, rd::rd_kafka_ResourceType_t, kind_to, kind_of, {
    Kind::Topic => rd::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC,
    Kind::Group => rd::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_GROUP,
    // In the protocol of ACLs this number stands for the cluster.
    Kind::Cluster => rd::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_BROKER,
    Kind::TransactionalId => rd::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TRANSACTIONAL_ID,
});

translate!(Pattern, rd::rd_kafka_ResourcePatternType_t, pattern_to, pattern_of, {
    Pattern::Literal => rd::rd_kafka_ResourcePatternType_t::RD_KAFKA_RESOURCE_PATTERN_LITERAL,
    Pattern::Prefixed => rd::rd_kafka_ResourcePatternType_t::RD_KAFKA_RESOURCE_PATTERN_PREFIXED,
});

translate!(Permission, rd::rd_kafka_AclPermissionType_t, permission_to, permission_of, {
    Permission::Allow => rd::rd_kafka_AclPermissionType_t::RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW,
    Permission::Deny => rd::rd_kafka_AclPermissionType_t::RD_KAFKA_ACL_PERMISSION_TYPE_DENY,
});

translate!(Operation, rd::rd_kafka_AclOperation_t, operation_to, operation_of, {
    Operation::All => rd::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_ALL,
    Operation::Read => rd::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_READ,
    Operation::Write => rd::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_WRITE,
    Operation::Create => rd::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_CREATE,
    Operation::Delete => rd::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_DELETE,
    Operation::Alter => rd::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_ALTER,
    Operation::Describe => rd::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_DESCRIBE,
    Operation::ClusterAction => rd::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_CLUSTER_ACTION,
    Operation::DescribeConfigs => rd::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_DESCRIBE_CONFIGS,
    Operation::AlterConfigs => rd::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_ALTER_CONFIGS,
    Operation::IdempotentWrite => rd::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_IDEMPOTENT_WRITE,
});

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(name: &str) -> Acl {
        Acl::allow("User:router", Resource::literal(Kind::Topic, name), Operation::Write)
    }

    #[test]
    fn a_right_survives_librdkafka() {
        let mut prefixed = acl("notify.events.");
        prefixed.resource.pattern = Pattern::Prefixed;
        let denied = Acl { permission: Permission::Deny, host: "10.0.0.1".to_owned(), ..acl("x") };
        let cluster = Acl { resource: Resource::literal(Kind::Cluster, super::super::CLUSTER), ..acl("") };
        let all = [acl("notify.decisions"), prefixed, denied, cluster];
        let made = bindings(&all, rd::rd_kafka_AclBinding_new).unwrap();
        // SAFETY: `made` is alive.
        let read: Vec<Acl> = made.iter().map(|one| unsafe { acl_of(one.get()) }.unwrap()).collect();
        assert_eq!(read, all);
    }

    #[test]
    fn a_name_with_a_zero_byte_is_refused_and_not_cut() {
        let error = bindings(&[acl("a\0b")], rd::rd_kafka_AclBinding_new).err().unwrap();
        assert!(error.text.contains("zero byte"), "{}", error.text);
    }

    #[test]
    fn what_librdkafka_does_not_know_is_nothing_of_ours() {
        assert_eq!(operation_of(rd::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_UNKNOWN), None);
        assert_eq!(kind_of(rd::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_UNKNOWN), None);
    }
}
