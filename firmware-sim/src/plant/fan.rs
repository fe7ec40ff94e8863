//! The fan: how well it cools, what the vendor's daemon asks of it, what it draws.

use super::profile::Fan;

/// Conductance from sink to ambient at a duty, W/K.
///
/// Straight lines between the measured points, in conductance rather than resistance: air flow, and with it
/// conductance, grows with speed. Between the points of AGX Orin (0, 128, 255) this is an assumption.
#[must_use]
pub fn sink_w_per_k(fan: &Fan, pwm: u8) -> f64 {
    along(fan.cooling.iter().map(|point| (f64::from(point.pwm), 1.0 / point.sink_to_ambient_k_per_w)), f64::from(pwm))
}

/// Duty that the vendor's curve asks for at a die temperature, 0..=255.
///
/// The table gives duty at a few margins below [`Fan::margin_to_c`]; straight lines between them and constant beyond
/// are an assumption, as the daemon's own interpolation is not published.
#[must_use]
pub fn vendor_pwm(fan: &Fan, die_c: f64) -> u8 {
    let duty =
        along(fan.vendor_curve.iter().map(|point| (point.margin_k, f64::from(point.pwm))), fan.margin_to_c - die_c);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rounded between two u8 values")]
    let duty = libm::round(duty) as u8;
    duty
}

/// Electrical power of the fan at a duty, W: cubic, by the fan laws.
#[must_use]
pub fn electrical_watts(fan: &Fan, pwm: u8) -> f64 {
    let share = f64::from(pwm) / 255.0;
    fan.full_w * share * share * share
}

/// Speed at a duty, rpm: proportional, as the vendor's table (66 at 750 rpm, 255 at 2,900 rpm) has it.
#[must_use]
pub fn rpm(fan: &Fan, pwm: u8) -> f64 {
    fan.full_rpm * f64::from(pwm) / 255.0
}

/// The value at `x` of straight lines through ascending points, constant beyond the ends; 0 without points.
fn along(mut points: impl Iterator<Item = (f64, f64)>, x: f64) -> f64 {
    let Some(mut low) = points.next() else { return 0.0 };
    if x <= low.0 {
        return low.1;
    }
    for high in points {
        if x <= high.0 {
            return low.1 + (high.1 - low.1) * (x - low.0) / (high.0 - low.0);
        }
        low = high;
    }
    low.1
}
