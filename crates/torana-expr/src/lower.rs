//! From a checked tree to what is evaluated: tests where it can be, the
//! interpreter where something is computed.

use super::check::{Type, claim, is_claims, is_client_ip, is_names};
use super::part::Part;
use super::read::Source;
use super::test::computed::{Computed, Variable, name};
use super::test::{Test, Text};
use super::{ExprError, Root};
use crate::regex::Regex;
use cel::common::ast::{CallExpr, Expr, IdedExpr, ListExpr, LiteralValue, operators as op};
use std::net::IpAddr;
use torana_core::names::HeaderName;

pub(super) fn lower(source: &Source, kind: Type) -> Result<(Root, Vec<Part>), ExprError> {
    let mut lowering = Lowering { source, parts: Vec::new() };
    let root = match (kind, lowering.text(&source.tree)?) {
        (Type::Bool, _) => Root::Test(lowering.test(&source.tree)?),
        (_, Some(text)) => Root::Text(text),
        (_, None) => Root::Computed(lowering.computed(&source.tree)?),
    };
    Ok((root, lowering.parts))
}

/// The same, all of it left to the interpreter: what tests are compared with.
#[cfg(test)]
pub(super) fn interpreted(source: &Source) -> Result<Computed, ExprError> {
    Lowering { source, parts: Vec::new() }.computed(&source.tree)
}

/// The interpreter recurses too, on a worker's stack.
const DEEPEST: usize = 32;

fn depth(node: &IdedExpr) -> usize {
    let deepest = match &node.expr {
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).map(depth).max(),
        Expr::List(list) => list.elements.iter().map(depth).max(),
        _ => None,
    };
    deepest.map_or(1, |below| below + 1)
}

struct Lowering<'s> {
    source: &'s Source,
    parts: Vec<Part>,
}

impl Lowering<'_> {
    fn note(&mut self, part: Part) -> Part {
        let same = |known: &Part| match (known, &part) {
            (Part::Capture { name, .. }, Part::Capture { name: other, .. }) => name == other,
            (known, part) => known == part,
        };
        if !self.parts.iter().any(same) {
            self.parts.push(part.clone());
        }
        part
    }

    /// A part of the request, if the node is just that.
    fn part(&mut self, node: &IdedExpr) -> Result<Option<Part>, ExprError> {
        if let Some(steps) = claim(node) {
            return Ok(Some(self.note(Part::Claim(steps.into_iter().map(Into::into).collect()))));
        }
        let part = match &node.expr {
            Expr::Ident(name) => match name.as_str() {
                "method" => Part::Method,
                "scheme" => Part::Scheme,
                "host" => Part::Host,
                "path" => Part::Path,
                _ => return Ok(None),
            },
            Expr::Select(select) if !select.test => {
                let Expr::Ident(of) = &select.operand.expr else { return Ok(None) };
                return self.field(node, of, &select.field).map(|part| Some(self.note(part)));
            }
            Expr::Call(CallExpr { func_name, args, .. }) if func_name == op::INDEX => match args.as_slice() {
                [IdedExpr { expr: Expr::Ident(map), .. }, key] => {
                    let Some(name) = literal(key) else { return Ok(None) };
                    self.field(key, map, name)?
                }
                _ => return Ok(None),
            },
            _ => return Ok(None),
        };
        Ok(Some(self.note(part)))
    }

    /// A field of a record, or an item of a map.
    fn field(&self, node: &IdedExpr, of: &str, field: &str) -> Result<Part, ExprError> {
        Ok(match (of, field) {
            ("headers", name) => match HeaderName::new(name) {
                Some(name) => Part::Header(name),
                None => return Err(self.source.error(node, format!("`{name}` is not the name of a header"), "")),
            },
            ("query", name) => Part::Query(name.into()),
            ("cookies", name) => Part::Cookie(name.into()),
            ("captures", name) => Part::Capture { name: name.into(), offset: self.source.offset(node) },
            ("client", "ip") => Part::ClientIp,
            ("tls", "version") => Part::TlsVersion,
            ("tls", "server_name") => Part::TlsServerName,
            ("identity", "subject") => Part::Subject,
            ("identity", "proven_by") => Part::ProvenBy,
            ("identity", "issuer") => Part::Issuer,
            ("identity", "consumer") => Part::Consumer,
            ("identity", "plan") => Part::Plan,
            ("identity", "roles") => Part::Roles,
            ("identity", "permissions") => Part::Permissions,
            ("identity", "scopes") => Part::Scopes,
            _ => return Err(self.source.error(node, format!("`{of}` has no field `{field}`"), "")),
        })
    }

    /// Text that needs no computing.
    fn text(&mut self, node: &IdedExpr) -> Result<Option<Text>, ExprError> {
        match literal(node) {
            Some(text) => Ok(Some(Text::Literal(text.into()))),
            None => Ok(self.part(node)?.map(Text::Part)),
        }
    }

    fn texts(&mut self, one: &IdedExpr, other: &IdedExpr) -> Result<Option<(Text, Text)>, ExprError> {
        Ok(self.text(one)?.zip(self.text(other)?))
    }

    fn test(&mut self, node: &IdedExpr) -> Result<Test, ExprError> {
        match self.native(node)? {
            Some(test) => Ok(test),
            None => Ok(Test::Computed(Box::new(self.computed(node)?))),
        }
    }

    fn native(&mut self, node: &IdedExpr) -> Result<Option<Test>, ExprError> {
        let call = match &node.expr {
            Expr::Literal(LiteralValue::Boolean(value)) => return Ok(Some(Test::Always(*value.inner()))),
            Expr::Call(call) => call,
            _ => return Ok(None),
        };
        if let Some(target) = &call.target {
            return self.method(call, target);
        }
        Ok(match (call.func_name.as_str(), call.args.as_slice()) {
            (op::LOGICAL_NOT, [one]) => Some(Test::Not(Box::new(self.test(one)?))),
            (op::LOGICAL_AND, [one, other]) => {
                let (one, other) = (self.test(one)?, self.test(other)?);
                Some(Test::All(joined(one, other, |test| match test {
                    Test::All(tests) => Ok(tests),
                    test => Err(test),
                })))
            }
            (op::LOGICAL_OR, [one, other]) => {
                let (one, other) = (self.test(one)?, self.test(other)?);
                Some(Test::Any(joined(one, other, |test| match test {
                    Test::Any(tests) => Ok(tests),
                    test => Err(test),
                })))
            }
            (op::EQUALS, [one, other]) => self.equal(one, other)?,
            (op::NOT_EQUALS, [one, other]) => self.equal(one, other)?.map(|test| Test::Not(Box::new(test))),
            (op::IN, [one, IdedExpr { expr: Expr::List(list), .. }]) => self.one_of(one, list)?,
            (op::IN, [key, of]) if is_claims(of) => {
                let name = literal(key).unwrap_or_default();
                Some(Test::Given(self.note(Part::Claim([name.into()].into()))))
            }
            (op::IN, [key, of]) if is_names(of) || claim(of).is_some() => {
                self.text(key)?.zip(self.part(of)?).map(|(name, names)| Test::Among(name, names))
            }
            (op::IN, [key, IdedExpr { expr: Expr::Ident(map), .. }]) => {
                let part = self.field(key, map, literal(key).unwrap_or_default())?;
                Some(Test::Given(self.note(part)))
            }
            ("has", [field]) => self.part(field)?.map(Test::Given),
            _ => None,
        })
    }

    fn equal(&mut self, one: &IdedExpr, other: &IdedExpr) -> Result<Option<Test>, ExprError> {
        for (ip, written) in [(one, other), (other, one)] {
            if is_client_ip(ip)
                && let Some(text) = literal(written)
            {
                let Ok(ip) = text.parse::<IpAddr>() else {
                    return Err(self.source.error(written, format!("`{text}` is not an IP address"), ""));
                };
                self.note(Part::ClientIp);
                return Ok(Some(Test::IpIs(ip.to_canonical())));
            }
        }
        Ok(self.texts(one, other)?.map(|(one, other)| Test::Equal(one, other)))
    }

    fn one_of(&mut self, one: &IdedExpr, list: &ListExpr) -> Result<Option<Test>, ExprError> {
        let Some(text) = self.text(one)? else { return Ok(None) };
        let mut texts = Vec::new();
        for element in &list.elements {
            match self.text(element)? {
                Some(text) => texts.push(text),
                None => return Ok(None),
            }
        }
        Ok(Some(Test::OneOf(text, texts)))
    }

    fn method(&mut self, call: &CallExpr, target: &IdedExpr) -> Result<Option<Test>, ExprError> {
        let [argument] = call.args.as_slice() else { return Ok(None) };
        match call.func_name.as_str() {
            "startsWith" => Ok(self.texts(target, argument)?.map(|(text, part)| Test::Begins(text, part))),
            "endsWith" => Ok(self.texts(target, argument)?.map(|(text, part)| Test::Ends(text, part))),
            "contains" => Ok(self.texts(target, argument)?.map(|(text, part)| Test::Holds(text, part))),
            "matches" => {
                let pattern = literal(argument).unwrap_or_default();
                let regex = Regex::anywhere(pattern)
                    .map_err(|error| self.source.error(argument, error.message.clone(), error.hint.clone()))?;
                Ok(self.text(target)?.map(|text| Test::Matches(text, Box::new(regex))))
            }
            "within" => {
                let text = literal(argument).unwrap_or_default();
                let network: torana_core::units::Network = text.parse().map_err(|_| {
                    let message = format!("`{text}` is not an address or a network");
                    self.source.error(argument, message, "write `10.0.0.0/8`, with zeros behind the prefix")
                })?;
                self.note(Part::ClientIp);
                Ok(Some(Test::IpWithin(network.net())))
            }
            _ => Ok(None),
        }
    }

    /// For the interpreter, which sees the request as variables only.
    fn computed(&mut self, node: &IdedExpr) -> Result<Computed, ExprError> {
        let mut variables = Vec::new();
        let program = self.substitute(node, &mut variables)?;
        if depth(&program) > DEEPEST {
            let message = format!("what is computed is nested more than {DEEPEST} deep");
            return Err(self.source.error(node, message, "a chain of `+` nests too"));
        }
        Ok(Computed { program, variables })
    }

    fn substitute(&mut self, node: &IdedExpr, variables: &mut Vec<Variable>) -> Result<IdedExpr, ExprError> {
        let variable = if let Some(part) = self.part(node)? {
            Some(Variable::Text(part))
        } else {
            // Whatever the interpreter does not know is decided here.
            let is_ours = matches!(&node.expr, Expr::Call(call) if matches!(
                call.func_name.as_str(), "matches" | "within" | "has" | op::IN
            ));
            if is_ours { self.native(node)?.map(Variable::Test) } else { None }
        };
        let expr = match (variable, &node.expr) {
            (Some(variable), _) => {
                variables.push(variable);
                Expr::Ident(name(variables.len() - 1))
            }
            (None, Expr::Call(call)) => {
                let target = match &call.target {
                    Some(target) => Some(Box::new(self.substitute(target, variables)?)),
                    None => None,
                };
                let args: Result<Vec<_>, _> = call.args.iter().map(|arg| self.substitute(arg, variables)).collect();
                Expr::Call(CallExpr { func_name: call.func_name.clone(), target, args: args? })
            }
            (None, Expr::List(list)) => {
                let elements: Result<Vec<_>, _> =
                    list.elements.iter().map(|element| self.substitute(element, variables)).collect();
                Expr::List(ListExpr::new(elements?))
            }
            (None, other) => other.clone(),
        };
        Ok(IdedExpr { id: node.id, expr })
    }
}

fn literal(node: &IdedExpr) -> Option<&str> {
    match &node.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    }
}

/// Two operands as one list, whichever of them is a list already.
fn joined(one: Test, other: Test, list: impl Fn(Test) -> Result<Vec<Test>, Test>) -> Vec<Test> {
    let mut tests = list(one).unwrap_or_else(|test| vec![test]);
    tests.extend(list(other).unwrap_or_else(|test| vec![test]));
    tests
}
