//! Categories, templates and limits from files: TOML in, one hashed [`crate::model::Policy`] out.
