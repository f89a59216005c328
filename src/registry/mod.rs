//! The schema registry's client: fetches and registers schemas, checks compatibility.
