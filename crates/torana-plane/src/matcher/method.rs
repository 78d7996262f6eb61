//! The methods a route answers.

use super::{PatternError, Request};
use torana_core::head::{Method, MethodSet};
use torana_core::names::is_token_byte;

/// A set of methods, or any method.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Methods {
    /// With the bit of [`Method::Extension`] if there are extensions.
    set: MethodSet,
    extensions: Vec<Box<str>>,
}

impl Methods {
    /// Every method.
    pub const ANY: Methods = Methods { set: MethodSet::EMPTY, extensions: Vec::new() };

    /// The methods named; none named means every method. GET brings HEAD.
    ///
    /// # Errors
    /// A name that is no token, or a known method in lower case.
    pub fn parse<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Result<Methods, PatternError> {
        let mut methods = Methods::default();
        for name in names {
            methods.add(name.as_ref())?;
        }
        methods.extensions.sort();
        Ok(methods)
    }

    fn add(&mut self, name: &str) -> Result<(), PatternError> {
        if name.is_empty() || !name.bytes().all(is_token_byte) {
            return Err(PatternError::new(
                format!("`{name}` is not a method"),
                "a method is one word, such as GET or POST",
            ));
        }
        let method = Method::from_bytes(name.as_bytes());
        if method == Method::Extension {
            // RFC 9110 §9.1: methods are case-sensitive, so `get` would match
            // nothing a browser sends.
            let upper = name.to_ascii_uppercase();
            if Method::from_bytes(upper.as_bytes()) != Method::Extension {
                return Err(PatternError::new(
                    format!("`{name}` is not a known method"),
                    format!("methods are case-sensitive; did you mean `{upper}`?"),
                ));
            }
            if !self.extensions.iter().any(|known| **known == *name) {
                self.extensions.push(name.into());
            }
        }
        self.set.insert(method);
        if method == Method::Get {
            self.set.insert(Method::Head);
        }
        Ok(())
    }

    /// Whether every method is allowed.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.set.is_empty()
    }

    /// The methods; the bit of [`Method::Extension`] stands for
    /// [`extensions`](Methods::extensions). Empty if any is allowed.
    #[must_use]
    pub fn set(&self) -> MethodSet {
        self.set
    }

    /// Methods without a number, sorted.
    pub fn extensions(&self) -> impl Iterator<Item = &str> {
        self.extensions.iter().map(|name| &**name)
    }

    pub(super) fn allow(&self, request: &Request<'_>) -> bool {
        self.is_any()
            || self.set.contains(request.method)
                && (request.method != Method::Extension || self.has_extension(request.method_text))
    }

    pub(super) fn has_extension(&self, name: &str) -> bool {
        self.extensions.iter().any(|known| **known == *name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn get_brings_head() {
        let methods = Methods::parse(["GET", "PURGE"]).unwrap();
        assert!(methods.set().contains(Method::Head) && methods.has_extension("PURGE"));
        assert!(!Methods::parse(["POST"]).unwrap().set().contains(Method::Head));
        assert!(Methods::parse::<&str>([]).unwrap().is_any());
    }

    #[test]
    fn mistakes_are_named() {
        assert!(Methods::parse(["get"]).unwrap_err().hint.contains("`GET`"));
        assert!(Methods::parse(["GET, PUT"]).is_err());
        assert!(Methods::parse([""]).is_err());
    }
}
