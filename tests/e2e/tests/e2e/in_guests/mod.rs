//! Tests that run ipft in guests, one module for each script of `guest/`.

mod backends;
mod churn;
mod command_line;
mod extension;
mod extension_errors;
mod faults;
mod filter;
mod first_bytes;
mod follow;
mod identity;
mod journey;
mod list;
mod loss;
mod marking;
mod more_fields;
mod outcome;
mod packet_fields;
mod plugins;
mod privileges;
mod reasons;
mod recording;
mod rights;
mod scenarios;
mod show;
mod text;
mod waiting;
