//! Integer-only energy controller.
#![no_std]
