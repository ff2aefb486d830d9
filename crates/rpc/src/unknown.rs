//! Refusals nobody has a meaning for, counted, so that an operator can teach them to the node.

use std::sync::{Arc, Mutex, PoisonError};

/// Different texts kept; an endpoint that makes up new ones all the time fills no memory.
const TEXTS: usize = 64;
/// Of each text.
const CHARS: usize = 200;

#[derive(Default)]
pub(crate) struct UnknownTexts(Mutex<Vec<(Arc<str>, String, u64)>>);

impl UnknownTexts {
    /// Counts a text; true if it is new and worth a log line.
    pub(crate) fn count(&self, node: &Arc<str>, text: &str) -> bool {
        let text: String = text.chars().take(CHARS).collect();
        let mut texts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, _, count)) = texts
            .iter_mut()
            .find(|(of, known, _)| of == node && *known == text)
        {
            *count += 1;
            return false;
        }
        let room = texts.len() < TEXTS;
        if room {
            texts.push((Arc::clone(node), text, 1));
        }
        room
    }

    pub(crate) fn list(&self) -> Vec<(Arc<str>, String, u64)> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_texts_are_counted_each_and_not_without_end() {
        let texts = UnknownTexts::default();
        let node: Arc<str> = "n".into();
        assert!(texts.count(&node, "odd"));
        assert!(!texts.count(&node, "odd"));
        assert_eq!(texts.list(), [(Arc::clone(&node), "odd".to_owned(), 2)]);
        for n in 0..1000 {
            texts.count(&node, &format!("odd {n}"));
        }
        assert_eq!(texts.list().len(), TEXTS);
    }
}
