//! A policy in floating point as a governor, as it was trained or imported, without being frozen.

use super::update::Policy;
use controller_core::action::{Action, ActionSpace, Setting};
use controller_core::governor::{Governor, Situation};
use controller_core::observation::FeatureRange;

/// Decides by the most probable action of a policy. On a board with other knobs it takes their nearest values.
#[derive(Clone, Debug)]
pub struct Trained<'a> {
    policy: Policy<'a>,
    layout: &'a [FeatureRange],
    actions: &'a ActionSpace,
}

impl<'a> Trained<'a> {
    /// A policy with the inputs and the knobs that it was made for.
    #[must_use]
    pub const fn new(policy: Policy<'a>, layout: &'a [FeatureRange], actions: &'a ActionSpace) -> Self {
        Self { policy, layout, actions }
    }
}

impl Governor for Trained<'_> {
    fn decide(&mut self, situation: &Situation<'_>) -> Action {
        let observation = situation.observer.observe(self.layout, situation.telemetry);
        let chosen = self.policy.heads(&observation, self.actions).greedy();
        let setting = self.actions.setting(chosen);
        setting.map_or_else(|| situation.actions.safest(), |setting| nearest(&setting, situation.actions))
    }
}

/// The action with the values nearest to a setting; of two equally near ones the lower.
fn nearest(setting: &Setting, actions: &ActionSpace) -> Action {
    fn index<T: Copy + Into<u32>>(values: &[T], wanted: u32) -> u8 {
        let distance = |place: &usize| values.get(*place).map_or(u32::MAX, |value| (*value).into().abs_diff(wanted));
        let place = (0..values.len()).min_by_key(distance).unwrap_or(0);
        u8::try_from(place).unwrap_or(u8::MAX)
    }
    Action {
        prefill: index(&actions.prefill_khz, setting.prefill.0),
        decode: index(&actions.decode_khz, setting.decode.0),
        batch: index(&actions.batch, setting.batch.into()),
        depth: index(&actions.depth, setting.depth.into()),
        fan: index(&actions.fan_pwm, setting.fan_pwm.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::heads::tests::space;
    use super::*;
    use controller_core::units::KiloHertz;

    #[test]
    fn values_that_a_board_lacks_become_the_nearest() {
        let setting = |prefill, decode, batch, depth| Setting {
            prefill: KiloHertz(prefill),
            decode: KiloHertz(decode),
            batch,
            depth,
            fan_pwm: 200,
        };
        // Clocks 1, 2 and 1, 2, 3; batches 1 and 4; depths 8 and 16; one fan duty.
        let found = nearest(&setting(9, 2, 3, 12), &space());
        assert_eq!(found, Action { prefill: 1, decode: 1, batch: 1, depth: 0, fan: 0 });
        for index in 0..space().count() {
            let action = space().action(index).unwrap();
            assert_eq!(nearest(&space().setting(action).unwrap(), &space()), action);
        }
    }
}
