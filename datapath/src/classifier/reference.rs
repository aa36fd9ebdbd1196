//! The linear oracle: a list.

use crate::flow_key::{FlowKey, FlowMask};

/// Megaflows in a row.
#[derive(Default)]
pub struct Linear(Vec<(FlowKey, FlowMask, u64)>);

impl Linear {
    /// Adds one, in place of one with the same mask and masked key or the same token.
    pub fn insert(&mut self, key: &FlowKey, mask: &FlowMask, token: u64) {
        let masked = key.masked(mask);
        self.0.retain(|(k, m, t)| *t != token && (k, m) != (&masked, mask));
        self.0.push((masked, *mask, token));
    }
    /// Removes one.
    pub fn remove(&mut self, token: u64) -> bool {
        let n = self.0.len();
        self.0.retain(|(.., t)| *t != token);
        self.0.len() < n
    }
    /// How many.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.0.len()
    }
    /// Tokens of all that match.
    pub fn matches(&self, key: &FlowKey) -> Vec<u64> {
        self.0.iter().filter(|(k, m, _)| key.matches(k, m)).map(|(.., t)| *t).collect()
    }
}
