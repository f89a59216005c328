//! Delivery: workers that drain outbound topics to providers, lanes by recipient, retries and dead letters.
