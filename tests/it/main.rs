//! Integration tests against real services: one binary, services started once (`dev/services up`), a topic prefix for
//! each test. What the outside sees is checked with clients that are not notilog's.

mod kill;
mod router;
mod support;
