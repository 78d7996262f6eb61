//! Names, functions and types, before anything runs.

use super::read::Source;
use super::{ExprError, Kind};
use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, SelectExpr, operators};
use std::fmt;
use torana_core::diagnostic::did_you_mean;

/// The type of a part of an expression.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Type {
    Bool,
    Text,
    Int,
    Float,
    List,
    /// Names of which one may be looked for.
    Names,
}

impl Type {
    /// As a result.
    pub(super) fn known(self) -> Option<Kind> {
        match self {
            Type::Bool => Some(Kind::Bool),
            Type::Text => Some(Kind::Text),
            Type::Int => Some(Kind::Int),
            Type::Float | Type::List | Type::Names => None,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Type::Bool => "true or false",
            Type::Text => "text",
            Type::Int => "a whole number",
            Type::Float => "a number with a fraction",
            Type::List => "a list",
            Type::Names => "a set of names",
        })
    }
}

/// Texts that stand for themselves.
pub(super) const SCALARS: [&str; 4] = ["method", "scheme", "host", "path"];
/// Maps from names to texts.
pub(super) const MAPS: [&str; 4] = ["headers", "query", "cookies", "captures"];
/// Names with fields.
pub(super) const RECORDS: [(&str, &[&str]); 3] =
    [("client", &["ip"]), ("tls", &["version", "server_name"]), ("identity", &IDENTITY)];
const IDENTITY: [&str; 9] =
    ["subject", "proven_by", "issuer", "consumer", "plan", "claims", "roles", "permissions", "scopes"];

const FUNCTIONS: [&str; 17] = [
    "startsWith",
    "endsWith",
    "contains",
    "matches",
    "within",
    "size",
    "lowerAscii",
    "upperAscii",
    "trim",
    "substring",
    "indexOf",
    "int",
    "double",
    "string",
    "has",
    "exists",
    "all",
];

pub(super) fn check(source: &Source) -> Result<Type, ExprError> {
    Checker { source }.infer(&source.tree)
}

struct Checker<'s> {
    source: &'s Source,
}

impl Checker<'_> {
    fn infer(&self, node: &IdedExpr) -> Result<Type, ExprError> {
        if claim(node).is_some() {
            return Ok(Type::Text);
        }
        match &node.expr {
            Expr::Literal(literal) => self.literal(node, literal),
            Expr::Ident(name) => self.name(node, name),
            Expr::Select(select) => self.select(node, select),
            Expr::List(list) => {
                let mut of = None;
                for element in &list.elements {
                    let found = self.infer(element)?;
                    if found == Type::Names {
                        return Err(self.source.error(element, "sets of names are only looked into", IN_NAMES));
                    }
                    if of.is_some_and(|of| of != found) {
                        return Err(self.source.error(element, "the items of a list are of one type", ""));
                    }
                    of = Some(found);
                }
                Ok(Type::List)
            }
            Expr::Call(call) => match &call.target {
                Some(target) => self.method(node, call, target),
                None => self.operator(node, call),
            },
            _ => Err(self.source.error(node, "not something that has a value here", "")),
        }
    }

    fn literal(&self, node: &IdedExpr, literal: &LiteralValue) -> Result<Type, ExprError> {
        match literal {
            LiteralValue::Boolean(_) => Ok(Type::Bool),
            LiteralValue::String(_) => Ok(Type::Text),
            LiteralValue::Int(_) => Ok(Type::Int),
            LiteralValue::Double(_) => Ok(Type::Float),
            LiteralValue::UInt(_) => Err(self.source.error(node, "unsigned numbers are not used", "leave the `u` out")),
            LiteralValue::Bytes(_) => Err(self.source.error(node, "bytes are not used", "leave the `b` out")),
            LiteralValue::Null => {
                Err(self.source.error(node, "nothing is `null`", "ask whether it is there: `has(tls.version)`"))
            }
        }
    }

    fn name(&self, node: &IdedExpr, name: &str) -> Result<Type, ExprError> {
        if SCALARS.contains(&name) {
            return Ok(Type::Text);
        }
        if MAPS.contains(&name) {
            let message = format!("`{name}` is asked for one name at a time");
            return Err(self.source.error(node, message, format!("write `{name}[\"name\"]`")));
        }
        if let Some((_, fields)) = RECORDS.iter().find(|(record, _)| *record == name) {
            let hint = format!("write `{name}.{}`", fields.join(&format!("` or `{name}.")));
            return Err(self.source.error(node, format!("`{name}` is asked for a field"), hint));
        }
        let known = SCALARS.into_iter().chain(MAPS).chain(RECORDS.iter().map(|(record, _)| *record));
        let hint = match (name, did_you_mean(name, known.clone())) {
            ("roles" | "permissions" | "scopes", _) => format!("write `\"admin\" in identity.{name}`"),
            ("claims" | "consumer" | "plan" | "sub" | "subject", _) => {
                "what is known of the caller: `identity.subject`, `identity.consumer`, `identity.claims[\"name\"]`"
                    .to_owned()
            }
            ("request", _) => "leave `request.` out: `path`, `headers[\"x\"]`".to_owned(),
            (_, Some(near)) => format!("did you mean `{near}`?"),
            (_, None) => format!("known here: `{}`; text stands in quotes", known.collect::<Vec<_>>().join("`, `")),
        };
        Err(self.source.error(node, format!("unknown name `{name}`"), hint))
    }

    fn select(&self, node: &IdedExpr, select: &SelectExpr) -> Result<Type, ExprError> {
        let found = if select.test { Type::Bool } else { Type::Text };
        let Expr::Ident(of) = &select.operand.expr else {
            return Err(self.source.error(node, format!("nothing has a field `{}` here", select.field), ""));
        };
        if MAPS.contains(&of.as_str()) {
            return Ok(found);
        }
        if let Some((_, fields)) = RECORDS.iter().find(|(record, _)| record == of) {
            match (of.as_str(), select.field.as_str()) {
                ("identity", "claims") => {
                    let message = "`identity.claims` is asked for one name at a time";
                    return Err(self.source.error(node, message, "write `identity.claims[\"name\"]`"));
                }
                ("identity", "roles" | "permissions" | "scopes") if !select.test => return Ok(Type::Names),
                (_, field) if fields.contains(&field) => return Ok(found),
                _ => {}
            }
            let hint = match did_you_mean(&select.field, fields.iter().copied()) {
                Some(near) => format!("did you mean `{of}.{near}`?"),
                None => format!("it has `{}`", fields.join("`, `")),
            };
            return Err(self.source.error(node, format!("`{of}` has no field `{}`", select.field), hint));
        }
        self.name(&select.operand, of)?;
        Err(self.source.error(node, format!("`{of}` is text and has no fields"), ""))
    }

    fn operator(&self, node: &IdedExpr, call: &CallExpr) -> Result<Type, ExprError> {
        use operators as op;
        match (call.func_name.as_str(), call.args.as_slice()) {
            (op::INDEX, [map, key]) => self.map_key(node, map, key).map(|()| Type::Text),
            (op::IN, [key, of]) => self.within_list(node, key, of),
            (op::LOGICAL_NOT, [one]) => self.expect(one, Type::Bool, "`!`"),
            (name @ (op::LOGICAL_AND | op::LOGICAL_OR), [one, other]) => {
                let name = format!("`{}`", name.trim_matches('_'));
                self.expect(one, Type::Bool, &name)?;
                self.expect(other, Type::Bool, &name)
            }
            (op::EQUALS | op::NOT_EQUALS, [one, other]) => match self.same(node, one, other)? {
                Type::Names => Err(self.source.error(node, "sets of names are not compared", IN_NAMES)),
                _ => Ok(Type::Bool),
            },
            (op::LESS | op::LESS_EQUALS | op::GREATER | op::GREATER_EQUALS, [one, other]) => {
                match self.same(node, one, other)? {
                    Type::Int | Type::Float | Type::Text => Ok(Type::Bool),
                    found => Err(self.source.error(node, format!("{found} has no order"), "")),
                }
            }
            (op::ADD, [one, other]) => match self.same(node, one, other)? {
                found @ (Type::Int | Type::Float | Type::Text) => Ok(found),
                found => Err(self.source.error(node, format!("{found} cannot be added"), "")),
            },
            (op::SUBSTRACT | op::MULTIPLY | op::DIVIDE | op::MODULO, [one, other]) => {
                self.number(node, self.same(node, one, other)?)
            }
            (op::NEGATE, [one]) => self.number(node, self.infer(one)?),
            (op::CONDITIONAL, [condition, one, other]) => {
                self.expect(condition, Type::Bool, "`? :`")?;
                match self.same(node, one, other)? {
                    Type::Names => Err(self.source.error(node, "sets of names are only looked into", IN_NAMES)),
                    found => Ok(found),
                }
            }
            ("has", [field @ IdedExpr { expr: Expr::Select(_), .. }]) if claim(field).is_some() => Ok(Type::Bool),
            ("has", [IdedExpr { expr: Expr::Select(select), .. }]) => {
                self.select(node, &SelectExpr { test: true, ..select.clone() })
            }
            ("has", _) => Err(self.source.error(node, "`has` takes a field", "write `has(tls.version)`")),
            ("size", [of]) => self.size(of),
            ("string", [of]) => self.convert(of, &[Type::Text, Type::Int, Type::Float, Type::Bool], Type::Text),
            ("int", [of]) => self.convert(of, &[Type::Text, Type::Int, Type::Float], Type::Int),
            ("double", [of]) => self.convert(of, &[Type::Text, Type::Int, Type::Float], Type::Float),
            (name, _) => Err(self.unknown(node, name)),
        }
    }

    fn unknown(&self, node: &IdedExpr, name: &str) -> ExprError {
        if FUNCTIONS.contains(&name) {
            let message = format!("`{name}` is not used like this");
            return self.source.error_about(name, node, message, usage(name));
        }
        let hint = match (name, did_you_mean(name, FUNCTIONS)) {
            ("map" | "filter" | "exists_one", _) => "there are `exists` and `all`, over lists written out".to_owned(),
            (_, Some(near)) => format!("did you mean `{near}`?"),
            (_, None) => String::new(),
        };
        self.source.error_about(name, node, format!("unknown function `{name}`"), hint)
    }

    fn method(&self, node: &IdedExpr, call: &CallExpr, target: &IdedExpr) -> Result<Type, ExprError> {
        let name = call.func_name.as_str();
        let quoted = format!("`{name}`");
        match (name, call.args.as_slice()) {
            ("startsWith" | "endsWith" | "contains", [part]) => {
                self.expect(target, Type::Text, &quoted)?;
                self.expect(part, Type::Text, &quoted)?;
                Ok(Type::Bool)
            }
            ("matches", [IdedExpr { expr: Expr::Literal(LiteralValue::String(_)), .. }]) => {
                self.expect(target, Type::Text, &quoted)?;
                let hint = "case is ignored by `(?i)` in the pattern";
                self.part(target, "`matches` looks at a part of the request as it is", hint)?;
                Ok(Type::Bool)
            }
            ("matches", [pattern]) => {
                Err(self.source.error(pattern, "the pattern of `matches` is written out", usage(name)))
            }
            ("within", [IdedExpr { expr: Expr::Literal(LiteralValue::String(_)), .. }]) if is_client_ip(target) => {
                Ok(Type::Bool)
            }
            ("size", []) => self.size(target),
            ("lowerAscii" | "upperAscii" | "trim", []) => self.expect(target, Type::Text, &quoted),
            ("substring", [from, rest @ ..]) if rest.len() < 2 => {
                self.expect(target, Type::Text, &quoted)?;
                self.expect(from, Type::Int, &quoted)?;
                rest.iter().try_for_each(|to| self.expect(to, Type::Int, &quoted).map(drop))?;
                Ok(Type::Text)
            }
            ("indexOf", [part]) => {
                self.expect(target, Type::Text, &quoted)?;
                self.expect(part, Type::Text, &quoted)?;
                Ok(Type::Int)
            }
            _ => Err(self.unknown(node, name)),
        }
    }

    /// Refuses text that is computed.
    fn part(&self, node: &IdedExpr, message: &str, hint: &str) -> Result<(), ExprError> {
        let is_part = match &node.expr {
            Expr::Ident(_) | Expr::Select(_) | Expr::Literal(_) => true,
            Expr::Call(call) => call.func_name == operators::INDEX,
            _ => false,
        };
        if is_part { Ok(()) } else { Err(self.source.error(node, message, hint)) }
    }

    fn map_key(&self, node: &IdedExpr, map: &IdedExpr, key: &IdedExpr) -> Result<(), ExprError> {
        match &map.expr {
            Expr::Ident(name) if MAPS.contains(&name.as_str()) => match &key.expr {
                Expr::Literal(LiteralValue::String(_)) => Ok(()),
                _ => {
                    let hint = format!("write `{name}[\"name\"]`");
                    Err(self.source.error(key, format!("`{name}` is asked for a name that is written out"), hint))
                }
            },
            Expr::Ident(name) => {
                self.name(map, name)?;
                Err(self.source.error(node, format!("`{name}` is text and has no items"), ""))
            }
            _ if is_claims(map) || claim(map).is_some() => {
                let hint = "write `identity.claims[\"name\"]`";
                Err(self.source.error(key, "claims are asked for by a name that is written out", hint))
            }
            _ => {
                let message = "only `headers`, `query`, `cookies`, `captures` and `identity.claims` have items";
                Err(self.source.error(node, message, ""))
            }
        }
    }

    fn within_list(&self, node: &IdedExpr, key: &IdedExpr, of: &IdedExpr) -> Result<Type, ExprError> {
        let Expr::List(list) = &of.expr else {
            if is_names(of) || claim(of).is_some() {
                self.expect(key, Type::Text, "`in`")?;
                self.part(key, "what is looked for is written out, or a part of the request as it is", "")?;
            } else if !is_claims(of) || !matches!(key.expr, Expr::Literal(LiteralValue::String(_))) {
                self.map_key(node, of, key)?;
            }
            return Ok(Type::Bool);
        };
        self.infer(of)?;
        let wanted = self.infer(key)?;
        for element in &list.elements {
            let found = self.infer(element)?;
            if found != wanted {
                let message = format!("{wanted} is looked for in a list of {found}");
                return Err(self.source.error(element, message, ""));
            }
        }
        Ok(Type::Bool)
    }

    fn expect(&self, node: &IdedExpr, wanted: Type, whose: &str) -> Result<Type, ExprError> {
        match self.infer(node)? {
            found if found == wanted => Ok(found),
            found => Err(self.source.error(node, format!("{whose} takes {wanted}, and this is {found}"), "")),
        }
    }

    fn same(&self, node: &IdedExpr, one: &IdedExpr, other: &IdedExpr) -> Result<Type, ExprError> {
        let (one, other) = (self.infer(one)?, self.infer(other)?);
        if one == other {
            return Ok(one);
        }
        let hint = match (one, other) {
            (Type::Text, Type::Int) | (Type::Int, Type::Text) => "`int(…)` makes a number of text",
            (Type::Text, Type::Bool) | (Type::Bool, Type::Text) => {
                "what a request or a claim says is text: `== \"true\"`"
            }
            (Type::Names, _) | (_, Type::Names) => IN_NAMES,
            _ => "",
        };
        Err(self.source.error(node, format!("{one} and {other} do not go together"), hint))
    }

    fn number(&self, node: &IdedExpr, found: Type) -> Result<Type, ExprError> {
        match found {
            Type::Int | Type::Float => Ok(found),
            found => Err(self.source.error(node, format!("{found} is not a number"), "")),
        }
    }

    fn size(&self, of: &IdedExpr) -> Result<Type, ExprError> {
        self.convert(of, &[Type::Text, Type::List], Type::Int)
    }

    fn convert(&self, of: &IdedExpr, from: &[Type], to: Type) -> Result<Type, ExprError> {
        match self.infer(of)? {
            found if from.contains(&found) => Ok(to),
            found => Err(self.source.error(of, format!("{found} cannot be made {to}"), "")),
        }
    }
}

/// How sets of names are asked.
const IN_NAMES: &str = "write `\"admin\" in identity.roles`";

/// The steps to a claim, if the node leads to one: `identity.claims.a["b"]`.
pub(super) fn claim(node: &IdedExpr) -> Option<Vec<&str>> {
    let (of, step) = match &node.expr {
        Expr::Select(select) => (&*select.operand, select.field.as_str()),
        Expr::Call(CallExpr { func_name, args, .. }) if func_name == operators::INDEX => match args.as_slice() {
            [of, IdedExpr { expr: Expr::Literal(LiteralValue::String(name)), .. }] => (of, name.inner()),
            _ => return None,
        },
        _ => return None,
    };
    let mut steps = if is_claims(of) { Vec::new() } else { claim(of)? };
    steps.push(step);
    Some(steps)
}

/// The field of `record` that the node is, if it is one.
fn field_of<'t>(node: &'t IdedExpr, record: &str) -> Option<&'t str> {
    match &node.expr {
        Expr::Select(select) if matches!(&select.operand.expr, Expr::Ident(name) if name == record) => {
            Some(&select.field)
        }
        _ => None,
    }
}

/// Whether it is `identity.claims`.
pub(super) fn is_claims(node: &IdedExpr) -> bool {
    field_of(node, "identity") == Some("claims")
}

/// Whether it is the caller's roles, permissions or scopes.
pub(super) fn is_names(node: &IdedExpr) -> bool {
    matches!(field_of(node, "identity"), Some("roles" | "permissions" | "scopes"))
}

pub(super) fn is_client_ip(node: &IdedExpr) -> bool {
    field_of(node, "client") == Some("ip")
}

fn usage(name: &str) -> &'static str {
    match name {
        "startsWith" | "endsWith" | "contains" => "write `path.startsWith(\"/api/\")`",
        "matches" => "write `path.matches(\"[0-9]+$\")`",
        "within" => "write `client.ip.within(\"10.0.0.0/8\")`",
        "size" => "write `size(path)`",
        "substring" => "write `path.substring(1, 3)`",
        "indexOf" => "write `path.indexOf(\"x\")`",
        "lowerAscii" | "upperAscii" | "trim" => "write `host.lowerAscii()`",
        "int" | "double" | "string" => "write `int(query[\"page\"])`",
        "exists" | "all" => "write `[\"a\", \"b\"].exists(x, path.startsWith(x))`",
        _ => "",
    }
}
