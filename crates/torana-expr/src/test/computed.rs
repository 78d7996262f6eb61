//! What is computed by the interpreter.

use super::{Test, text_of};
use crate::part::Part;
use crate::{Fault, Subject, Value};
use cel::common::types::{CelBool, CelString};
use cel::{Context, Env, IdedExpr};
use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

/// The functions an expression may call. `matches` is not among them: it would
/// compile its pattern on every call.
static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    env.add_extension(cel::extensions::strings).expect("the extension is added once");
    Arc::new(env)
});

/// An expression whose parts of the request, and conditions decided without the
/// interpreter, are variables `$0`, `$1` …
#[derive(Clone)]
pub(crate) struct Computed {
    pub(crate) program: IdedExpr,
    pub(crate) variables: Vec<Variable>,
}

#[derive(Clone)]
pub(crate) enum Variable {
    Text(Part),
    Test(Test),
}

impl Computed {
    pub(crate) fn value<'a>(&'a self, subject: &Subject<'a>) -> Result<Value<'a>, Fault<'a>> {
        let mut context = Context::with_env(Arc::clone(&ENV));
        let mut fault = None;
        for (index, variable) in self.variables.iter().enumerate() {
            // What has no value is left out: only where it is needed does
            // evaluation fail for it.
            let bound = match variable {
                Variable::Text(part) => text_of(part, subject).map(|text| {
                    context.add_variable_as_val(name(index), Box::new(CelString::from(text)));
                }),
                Variable::Test(test) => test.holds(subject).map(|holds| {
                    context.add_variable_as_val(name(index), Box::new(CelBool::from(holds)));
                }),
            };
            fault = fault.or(bound.err());
        }
        match cel::Value::resolve(&self.program, &context) {
            Ok(cel::Value::Bool(value)) => Ok(Value::Bool(value)),
            Ok(cel::Value::Int(value)) => Ok(Value::Int(value)),
            Ok(cel::Value::String(value)) => Ok(Value::Text(Cow::Owned(value.to_string()))),
            Ok(_) => Err(Fault::Computing("the result is neither true or false, text nor a whole number".into())),
            Err(error) => Err(match (error, fault) {
                (cel::ExecutionError::UndeclaredReference(_), Some(fault)) => fault,
                (error, _) => Fault::Computing(error.to_string().into()),
            }),
        }
    }
}

/// The name of a variable; not one that can be written.
pub(crate) fn name(index: usize) -> String {
    format!("${index}")
}
