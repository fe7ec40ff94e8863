//! The protocol over lines that lose, change and add bytes, and its bytes against the page that
//! specifies them.

mod bytes;
mod generate;
mod line;
mod page;
