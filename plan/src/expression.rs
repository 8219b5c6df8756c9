//! CEL expressions over an object's status. Pure, and bounded: an expression is short and has one loop over a list of the object at most, by the rules of the
//! CRD and once more here, for one that was stored under other rules.

use cel::parser::PrattParser;
use cel::{Context, IdedExpr, Value};

/// Longest expression, in bytes.
const LONGEST: usize = 256;
/// Most operators: each may take 16 KiB of stack when it is evaluated.
const MOST: usize = 48;
/// How deep it may nest.
const DEEPEST: u16 = 24;
/// Macros that loop.
const LOOPS: [&str; 5] = ["all", "exists", "exists_one", "map", "filter"];

/// An expression that can be evaluated.
pub struct Expression(IdedExpr);

impl Expression {
    /// Parses `source`.
    ///
    /// # Errors
    /// A sentence: what is wrong with it.
    pub fn parse(source: &str) -> Result<Self, String> {
        if source.len() > LONGEST {
            return Err(format!("it is {} bytes long, {LONGEST} are the most", source.len()));
        }
        // A comment could hide a loop from whoever counts them, and one that has no line to end is nothing more.
        if source.contains(['\n', '\r']) {
            return Err("write it in one line".to_owned());
        }
        let plain: String = source.chars().filter(|c| !c.is_whitespace()).collect();
        let loops: usize = LOOPS.iter().map(|word| plain.matches(&format!(".{word}(")).count()).sum();
        if loops > 1 {
            return Err("use one of all, exists, exists_one, map and filter, once".to_owned());
        }
        let marks = source.matches(|c: char| ".+-*/%!?&|=<>([{".contains(c)).count();
        if marks + source.matches("in").count() > MOST {
            return Err(format!("it has more than {MOST} operators"));
        }
        // The other parser of this crate needs 100 KiB of stack a level, and has no bound.
        let parsed = PrattParser::new().max_recursion_depth(DEEPEST).parse(source);
        parsed.map(Self).map_err(|errors| {
            let said = errors.to_string();
            format!("it is no CEL: {}", said.lines().next().unwrap_or_default())
        })
    }

    /// What it says of `object`.
    ///
    /// # Errors
    /// A sentence, when it can't be evaluated, as where a field is missing, or is neither true nor false.
    pub fn holds(&self, object: &serde_json::Value) -> Result<bool, String> {
        let mut context = Context::default();
        context.add_variable("object", object).map_err(|error| error.to_string())?;
        match context.resolve(&self.0) {
            Ok(Value::Bool(holds)) => Ok(holds),
            Ok(_) => Err("it is neither true nor false".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn holds(source: &str) -> Result<bool, String> {
        let conditions =
            json!([{"type": "Available", "status": "True"}, {"type": "Progressing", "status": "False"}]);
        let object = json!({
            "metadata": {"name": "scholar", "generation": 3, "labels": {"app": "scholar"}}, "spec": {"replicas": 2},
            "status": {"readyReplicas": 2, "observedGeneration": 3, "phase": "Bound", "conditions": conditions},
        });
        Expression::parse(source)?.holds(&object)
    }

    #[test]
    fn what_people_write_is_evaluated_over_the_object() {
        for (source, expected) in [
            ("object.status.readyReplicas == 2", true),
            ("object.status.readyReplicas == object.spec.replicas", true),
            ("object.status.readyReplicas > 2", false),
            (
                "object.status.phase == 'Bound' && object.metadata.generation == object.status.observedGeneration",
                true,
            ),
            ("object.status.conditions.exists(c, c.type == 'Available' && c.status == 'True')", true),
            ("object.status.conditions.all(c, c.status == 'True')", false),
            ("has(object.status.failed) && object.status.failed > 0", false),
            ("!has(object.status.failed)", true),
            ("'app' in object.metadata.labels", true),
        ] {
            assert_eq!(holds(source), Ok(expected), "{source}");
        }
    }

    #[test]
    fn what_is_missing_or_no_answer_is_said_and_never_true() {
        for source in
            ["object.status.failed > 0", "object.status.readyReplicas", "'yes'", "nothing == 1", "1 / 0 == 1"]
        {
            assert!(holds(source).is_err(), "{source}");
        }
    }

    #[test]
    fn what_can_not_be_parsed_or_would_take_long_is_refused() {
        let nested = "object.status.conditions.all(a, object.status.conditions .all (b, true))";
        for source in [
            "",
            "object.status.",
            "object.status.readyReplicas = 2",
            "a b",
            nested,
            "object.status.conditions.all//\n(a, true)",
            &"1".repeat(257),
            &format!("{}true", "!".repeat(60)),
            &format!("object{}", ".a".repeat(80)),
        ] {
            assert!(Expression::parse(source).is_err(), "{source}");
        }
    }

    #[test]
    fn whatever_is_nested_as_deeply_as_fits_ends_in_an_answer() {
        // On a stack of the size of a worker's.
        let nested = |(open, close): (&str, &str), times: usize| {
            format!("{}true{}", open.repeat(times), close.repeat(times))
        };
        let forms = [
            ("(", ")"),
            ("[", "]"),
            ("!", ""),
            ("-", ""),
            ("true?", ":true"),
            ("{1:", "}"),
            ("a(", ")"),
            ("", ".a"),
            ("", "+1"),
            ("", "&&true"),
            ("", "||true"),
            ("", "==1"),
            ("", " in a"),
        ];
        for source in forms.into_iter().flat_map(|form| (1..=64).map(move |times| nested(form, times))) {
            let look = move || drop(holds(&source));
            let _ = std::thread::Builder::new().stack_size(2 << 20).spawn(look).unwrap().join();
        }
    }
}
