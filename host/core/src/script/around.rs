//! What a compiled function sees of its script: upvalues by their live values, then globals, then constants of
//! protocols. Imports `map`.

use std::cell::RefCell;

use lua_bpf::{Environment, Outside};
use mlua::{AnyUserData, Function, Lua, Table, Value};

use super::map::Map;

/// The name of the constants that BCC's compiler knows.
const CONSTANTS: &str = "c";

/// The values around a function.
pub(super) struct Around {
    upvalues: Vec<(String, Value)>,
    globals: Table,
    constants: Table,
    /// The maps that the function names: they live as long as the compiled function.
    maps: RefCell<Vec<AnyUserData>>,
}

impl Around {
    pub(super) fn new(
        lua: &Lua,
        function: &Function,
        get_upvalue: &Function,
        constants: Table,
    ) -> mlua::Result<Around> {
        let mut upvalues = Vec::new();
        for index in 1..=function.info().num_upvalues {
            let (name, value): (Option<String>, Value) = get_upvalue.call((function, index))?;
            upvalues.extend(name.map(|name| (name, value)));
        }
        Ok(Around {
            upvalues,
            globals: function.environment().unwrap_or_else(|| lua.globals()),
            constants,
            maps: RefCell::default(),
        })
    }

    pub(super) fn into_maps(self) -> Vec<AnyUserData> {
        self.maps.into_inner()
    }

    fn first(&self, name: &str) -> Value {
        if let Some((_, value)) = self.upvalues.iter().find(|(found, _)| found == name) {
            return value.clone();
        }
        // Without metatables, whose functions may do anything.
        match self.globals.raw_get(name).unwrap_or(Value::Nil) {
            Value::Nil if name == CONSTANTS => Value::Table(self.constants.clone()),
            value => value,
        }
    }
}

impl Environment for Around {
    fn find(&self, path: &[&str]) -> Option<Outside> {
        let (name, rest) = path.split_first()?;
        let mut value = self.first(name);
        for name in rest {
            let Value::Table(table) = value else { return None };
            value = table.raw_get(*name).unwrap_or(Value::Nil);
        }
        Some(match value {
            Value::Nil => return None,
            Value::Boolean(value) => Outside::Boolean(value),
            Value::Integer(value) => Outside::Integer(value),
            Value::Number(value) if value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0 => {
                Outside::Integer(value as i64)
            }
            Value::Number(_) => Outside::Float,
            Value::String(text) => Outside::Text(text.as_bytes().to_vec()),
            Value::Table(_) => Outside::Table,
            Value::UserData(data) => match data.borrow::<Map>().map(|map| map.outside()) {
                Ok(map) => {
                    self.maps.borrow_mut().push(data);
                    Outside::Map(map)
                }
                Err(_) => Outside::Other("an object of the script".to_owned()),
            },
            other => Outside::Other(format!("a {}", other.type_name())),
        })
    }

    fn names(&self) -> Vec<String> {
        let own = self.upvalues.iter().map(|(name, _)| name.clone());
        own.filter(|name| name != "_ENV").collect()
    }
}
