//! Tables, figures and logs of what a command did.

pub mod csv_file;
pub mod csv_log;
pub mod figure;
pub mod kept;
pub mod manifest;
pub mod sheet;
pub mod table;
