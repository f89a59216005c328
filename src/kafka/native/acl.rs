//! Rights, as librdkafka asks for and changes them. What holds for the module above holds here.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::c_char;
use std::ptr;

use rdkafka::bindings as rd;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::RDKafkaErrorCode;

use super::{NativeError, Owned, ask, c_string, lent_slice, outcome, text};
use crate::kafka::acl::{Acl, Allowed, Kind, Operation, Pattern, Permission, Resource};
use crate::kafka::client::Context;

/// All rights of the cluster.
pub(in crate::kafka) fn describe(client: &BaseConsumer<Context>) -> Result<Vec<Acl>, NativeError> {
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
pub(in crate::kafka) fn create(
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
pub(in crate::kafka) fn delete(
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
pub(in crate::kafka) fn allowed(
    client: &BaseConsumer<Context>,
    topics: &[String],
) -> Result<BTreeMap<String, Allowed>, NativeError> {
    super::topic::describe(client, topics, true, |topic| {
        // SAFETY: `describe` lends a live description.
        unsafe { (text(rd::rd_kafka_TopicDescription_name(topic)), allowed_of(topic)) }
    })
    .map(|described| described.into_iter().collect())
}

/// What the client may do with the cluster itself; `None` when the broker does not tell.
pub(in crate::kafka) fn allowed_on_cluster(
    client: &BaseConsumer<Context>,
) -> Result<Option<BTreeSet<Operation>>, NativeError> {
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
        let cluster = Acl { resource: Resource::literal(Kind::Cluster, crate::kafka::acl::CLUSTER), ..acl("") };
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
