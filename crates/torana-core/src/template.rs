//! Path templates: `/v2/{rest}`.
//!
//! A template is compiled against the names its route captures, so a request
//! cannot meet an unknown name, and captures are inserted in their canonical,
//! percent-encoded form: data never becomes structure.

use crate::captures::Captures;

/// A compiled template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(Box<str>),
    Capture(usize),
}

/// Why a template does not compile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A name the route does not capture.
    #[error("`{{{0}}}` is not captured by the route's path")]
    Unknown(String),
    /// A brace without its partner.
    #[error("unbalanced brace in `{0}`; a name is written `{{name}}`")]
    Unbalanced(String),
}

impl Template {
    /// Compiles `text`; `names` are the route's captures in order.
    ///
    /// # Errors
    /// An unknown name or an unbalanced brace.
    pub fn compile(text: &str, names: &[String]) -> Result<Template, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find(['{', '}']) {
            let (literal, tail) = rest.split_at(open);
            if !literal.is_empty() {
                parts.push(Part::Literal(literal.into()));
            }
            let inner = tail.strip_prefix('{').and_then(|tail| tail.split_once('}'));
            let Some((name, after)) = inner else {
                return Err(TemplateError::Unbalanced(text.to_owned()));
            };
            let Some(index) = names.iter().position(|known| known == name) else {
                return Err(TemplateError::Unknown(name.to_owned()));
            };
            parts.push(Part::Capture(index));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.into()));
        }
        Ok(Template { parts })
    }

    /// Appends the template with the captures of `path` to `out`.
    pub fn render(&self, path: &str, captures: &Captures, out: &mut String) {
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.push_str(text),
                Part::Capture(index) => out.push_str(captures.get(path, *index)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captures_are_inserted_as_they_stand() {
        let names = ["id".to_owned(), "rest".to_owned()];
        let template = Template::compile("/v2/{id}/x/{rest}", &names).unwrap();
        let mut captures = Captures::default();
        captures.push(1, 4);
        captures.push(5, 10);
        let mut out = String::new();
        template.render("/a%3/b/c{d", &captures, &mut out);
        assert_eq!(out, "/v2/a%3/x/b/c{d");
    }

    #[test]
    fn mistakes_are_found_when_compiling() {
        assert_eq!(Template::compile("/{nope}", &[]), Err(TemplateError::Unknown("nope".into())));
        assert!(matches!(Template::compile("/{x", &["x".into()]), Err(TemplateError::Unbalanced(_))));
        assert!(matches!(Template::compile("/x}", &["x".into()]), Err(TemplateError::Unbalanced(_))));
    }
}
