//! priced
