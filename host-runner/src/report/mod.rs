//! Tables and figures for people. Nothing here is ever read back as data.

pub mod figure;
pub mod manifest;
pub mod sheet;
pub mod table;
