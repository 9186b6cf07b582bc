//! Tables, which is how `kubectl get` wants its objects.
//!
//! Owns: the Table document and its rows; `columns` says which columns a kind has, `cells` what is
//! in them. Owns not: which objects are in it (`collection`).
//! Invariant: a row has exactly as many cells as the table has columns.

mod cells;
mod columns;
mod pod;

use serde_json::{Value, json};

use super::catalog::Resource;
use super::clock::Millis;
use columns::columns;

/// What each row carries besides its cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Include {
    None,
    Metadata,
    Object,
}

impl Include {
    /// Reads `includeObject`; metadata unless told otherwise.
    pub(super) fn of(text: Option<&str>) -> Self {
        match text {
            Some("None") => Self::None,
            Some("Object") => Self::Object,
            _ => Self::Metadata,
        }
    }
}

/// One column: its name, whether it shows without `-o wide`, and its cell.
#[derive(Debug)]
struct Column {
    name: &'static str,
    wide: bool,
    cell: fn(&Value, Millis) -> Value,
}

const fn column(name: &'static str, cell: fn(&Value, Millis) -> Value) -> Column {
    Column {
        name,
        wide: false,
        cell,
    }
}

const fn wide(name: &'static str, cell: fn(&Value, Millis) -> Value) -> Column {
    Column {
        name,
        wide: true,
        cell,
    }
}

/// A table of objects of one resource. `definitions` may be left out in a watch's later events.
pub(super) fn table<'object>(
    resource: &Resource,
    objects: impl IntoIterator<Item = &'object Value>,
    include: Include,
    list_metadata: &Value,
    definitions: bool,
    now: Millis,
) -> Value {
    let columns = columns(resource);
    let rows: Vec<Value> = objects
        .into_iter()
        .map(|object| {
            let cells: Vec<Value> = columns.iter().map(|it| (it.cell)(object, now)).collect();
            let mut row = json!({"cells": cells});
            match include {
                Include::None => {}
                Include::Metadata => row["object"] = partial(object),
                Include::Object => row["object"] = object.clone(),
            }
            row
        })
        .collect();
    let mut table = json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": list_metadata,
        "rows": rows,
    });
    if definitions {
        let definitions: Vec<Value> = columns.iter().map(Column::definition).collect();
        table["columnDefinitions"] = definitions.into();
    }
    table
}

/// An object's metadata alone.
pub(super) fn partial(object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": object["metadata"],
    })
}

impl Column {
    /// What a client is told of the column.
    fn definition(&self) -> Value {
        json!({
            "name": self.name,
            "type": "string",
            "format": if self.name == "Name" { "name" } else { "" },
            "description": "",
            "priority": i32::from(self.wide),
        })
    }
}
