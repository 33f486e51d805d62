//! The built-in intake.
