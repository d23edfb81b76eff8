//! An error with everything that caused it, as people read it.

use std::error::Error;

/// The messages of an error and its causes, outermost first. Many libraries put the cause's text
/// into their own; what was just said is not said again.
#[must_use]
pub fn causes(error: &(dyn Error + 'static)) -> Vec<String> {
    let mut said = vec![error.to_string()];
    let mut next = error.source();
    while let Some(e) = next {
        let text = e.to_string();
        if said.last().is_none_or(|last| !last.ends_with(&text)) {
            said.push(text);
        }
        next = e.source();
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("no answer: {0}")]
    struct Repeating(#[source] std::io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("it did not work")]
    struct Outer(#[source] Repeating);

    #[test]
    fn what_was_just_said_is_not_said_again() {
        let error = Outer(Repeating(std::io::Error::other("refused")));
        assert_eq!(causes(&error), ["it did not work", "no answer: refused"]);
    }
}
