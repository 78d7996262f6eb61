//! From text to a tree, within limits, with `exists` and `all` unrolled.

use super::{ExprError, limits};
use cel::common::ast::{CallExpr, Expr, IdedExpr, ListExpr, LiteralValue, SelectExpr, SourceInfo, operators};
use std::sync::LazyLock;

/// Nodes after unrolling.
const MOST_NODES: usize = 8_192;

/// Without macros: what they would make is harder to read than the calls.
static ENV: LazyLock<cel::Env> = LazyLock::new(|| cel::Env::default().with_optional_support(false));

/// A tree and where its nodes stand.
pub(super) struct Source {
    pub(super) tree: IdedExpr,
    places: SourceInfo,
    text: String,
}

impl Source {
    /// Where a node begins, in bytes.
    pub(super) fn offset(&self, node: &IdedExpr) -> usize {
        let start = self.places.offset_for(node.id).map_or(0, |(start, _)| start as usize);
        start.min(self.text.len())
    }

    pub(super) fn error(&self, node: &IdedExpr, message: impl Into<String>, hint: impl Into<String>) -> ExprError {
        ExprError::new(message, hint, self.offset(node))
    }

    /// An error about the function that is called: the parser places calls at
    /// their bracket.
    pub(super) fn error_about(
        &self,
        name: &str,
        call: &IdedExpr,
        message: String,
        hint: impl Into<String>,
    ) -> ExprError {
        let offset = self.offset(call);
        let before = self.text.get(..offset).unwrap_or_default();
        let offset = if before.ends_with(name) { offset - name.len() } else { offset };
        ExprError::new(message, hint, offset)
    }
}

pub(super) fn read(text: &str) -> Result<Source, ExprError> {
    limits::check(text)?;
    let (tree, places) = ENV.parser().parse_with_source_info(text).map_err(|errors| syntax(text, &errors))?;
    let mut source = Source { tree: IdedExpr::default(), places, text: text.to_owned() };
    let mut nodes = 0;
    source.tree = unroll(&source, &tree, &mut Vec::new(), &mut nodes)?;
    Ok(source)
}

fn syntax(text: &str, errors: &cel::ParseErrors) -> ExprError {
    let Some(first) = errors.errors.first() else { return ExprError::new("not an expression", "", 0) };
    let (line, column) = first.pos;
    let line = usize::try_from(line).unwrap_or(1).max(1);
    let before: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let offset = before + usize::try_from(column).unwrap_or(1).saturating_sub(1);
    // The parser's own words end in a list of all it expected.
    let message = first.msg.split(" expecting ").next().unwrap_or_default().trim_start_matches("Syntax error: ");
    let message = if message.contains("'<EOF>'") { "it ends too early" } else { message };
    ExprError::new(format!("not an expression: {message}"), "", offset.min(text.len()))
}

/// A name and what stands for it.
type Bound<'t> = Vec<(&'t str, &'t IdedExpr)>;

/// Copies the tree with `[…].exists(x, test)` written out as tests joined by
/// `||`, and `all` by `&&`.
fn unroll<'t>(
    source: &Source,
    node: &'t IdedExpr,
    bound: &mut Bound<'t>,
    nodes: &mut usize,
) -> Result<IdedExpr, ExprError> {
    *nodes += 1;
    if *nodes > MOST_NODES {
        return Err(source.error(node, "written out, `exists` and `all` become too long", "use shorter lists"));
    }
    let expr = match &node.expr {
        Expr::Ident(name) => match bound.iter().rev().find(|(known, _)| known == name) {
            // With its own place: an error is about this use of it.
            Some((_, value)) => value.expr.clone(),
            None => node.expr.clone(),
        },
        Expr::Select(select) => {
            let operand = Box::new(unroll(source, &select.operand, bound, nodes)?);
            Expr::Select(SelectExpr { operand, field: select.field.clone(), test: select.test })
        }
        Expr::List(list) => Expr::List(ListExpr::new(all(source, &list.elements, bound, nodes)?)),
        Expr::Call(call) if call.target.is_some() && matches!(call.func_name.as_str(), "exists" | "all") => {
            return quantified(source, node, call, bound, nodes);
        }
        Expr::Call(call) => {
            let target = match &call.target {
                Some(target) => Some(Box::new(unroll(source, target, bound, nodes)?)),
                None => None,
            };
            let args = all(source, &call.args, bound, nodes)?;
            Expr::Call(CallExpr { func_name: call.func_name.clone(), target, args })
        }
        Expr::Literal(_) => node.expr.clone(),
        _ => return Err(source.error(node, "maps and messages are not values here", "")),
    };
    Ok(IdedExpr { id: node.id, expr })
}

fn all<'t>(
    source: &Source,
    list: &'t [IdedExpr],
    bound: &mut Bound<'t>,
    nodes: &mut usize,
) -> Result<Vec<IdedExpr>, ExprError> {
    list.iter().map(|node| unroll(source, node, bound, nodes)).collect()
}

fn quantified<'t>(
    source: &Source,
    node: &'t IdedExpr,
    call: &'t CallExpr,
    bound: &mut Bound<'t>,
    nodes: &mut usize,
) -> Result<IdedExpr, ExprError> {
    let name = &call.func_name;
    let usage = format!("write `[\"a\", \"b\"].{name}(x, path.startsWith(x))`");
    let list = match call.target.as_deref().map(|target| &target.expr) {
        Some(Expr::List(list)) if list.elements.iter().all(|one| matches!(one.expr, Expr::Literal(_))) => list,
        _ => return Err(source.error(node, format!("`{name}` goes over a list that is written out"), usage)),
    };
    let [IdedExpr { expr: Expr::Ident(variable), .. }, test] = call.args.as_slice() else {
        return Err(source.error(node, format!("`{name}` takes a name and a condition"), usage));
    };
    let is_any = name == "exists";
    let operator = if is_any { operators::LOGICAL_OR } else { operators::LOGICAL_AND };
    let mut tests = Vec::with_capacity(list.elements.len());
    for element in &list.elements {
        bound.push((variable, element));
        let test = unroll(source, test, bound, nodes);
        bound.pop();
        tests.push(test?);
    }
    let empty = || IdedExpr { id: node.id, expr: Expr::Literal(LiteralValue::Boolean((!is_any).into())) };
    Ok(joined(tests, node.id, operator).unwrap_or_else(empty))
}

/// Joins tests in halves: a chain of a thousand would be a thousand deep.
fn joined(mut tests: Vec<IdedExpr>, id: u64, operator: &str) -> Option<IdedExpr> {
    if tests.len() < 2 {
        return tests.pop();
    }
    let second = tests.split_off(tests.len() / 2);
    let args = vec![joined(tests, id, operator)?, joined(second, id, operator)?];
    let call = CallExpr { func_name: operator.to_owned(), target: None, args };
    Some(IdedExpr { id, expr: Expr::Call(call) })
}
