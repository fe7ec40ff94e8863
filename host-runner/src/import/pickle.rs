//! The part of Python's pickle that a state dict needs.
//!
//! A pickle is a program. This reader knows the opcodes that build data and two callables, which it
//! carries out itself; every other callable is refused by name, so nothing in a file can run.

use std::collections::HashMap;
use std::rc::Rc;

/// Deepest nesting of lists in lists.
const MAX_DEPTH: usize = 16;

/// Why a pickle is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PickleError {
    /// The bytes end in the middle.
    #[error("the pickle is cut short at byte {place}; copy the file again")]
    Truncated {
        /// Where.
        place: usize,
    },
    /// An opcode outside the subset.
    #[error("the pickle has opcode 0x{opcode:02x} at byte {place}, which no state dict needs; save model.state_dict()")]
    Opcode {
        /// The opcode.
        opcode: u8,
        /// Where.
        place: usize,
    },
    /// A callable that is not one of the known.
    #[error("the pickle calls {name}, which is refused; save model.state_dict(), not the model or the optimizer")]
    Callable {
        /// Module and name.
        name: String,
    },
    /// Opcodes in an order that makes no sense.
    #[error("the pickle is damaged at byte {place}: {what}")]
    Malformed {
        /// Where.
        place: usize,
        /// What is wrong.
        what: &'static str,
    },
}

/// A tensor as the pickle describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorReference {
    /// Type of the numbers, for instance `FloatStorage`.
    pub storage: String,
    /// Name of the entry with the numbers.
    pub key: String,
    /// Numbers in that entry.
    pub length: usize,
    /// First number of the tensor.
    pub offset: usize,
    /// Sizes.
    pub shape: Vec<usize>,
    /// Numbers from one index to the next, per dimension.
    pub strides: Vec<usize>,
}

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// None, a flag or a fraction: nothing that a tensor needs.
    Other,
    /// A whole number.
    Whole(i64),
    /// Text.
    Text(Rc<str>),
    /// A tuple or an empty list, and how deep it nests.
    List(Rc<[Value]>, usize),
    /// A dictionary in the order of its keys.
    Dictionary(Vec<(Value, Value)>),
    /// A name that may be called.
    Name(Rc<str>),
    /// What a tensor lies in.
    Storage(Rc<TensorReference>),
    /// A tensor.
    Tensor(Rc<TensorReference>),
}

const DICTIONARY: &str = "collections OrderedDict";
const TENSOR: &str = "torch._utils _rebuild_tensor_v2";
const STORAGES: &str = "torch ";

/// Reads a pickle.
pub fn read(bytes: &[u8]) -> Result<Value, PickleError> {
    Machine { bytes, place: 0, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() }.run()
}

struct Machine<'a> {
    bytes: &'a [u8],
    place: usize,
    stack: Vec<Value>,
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
}

impl Machine<'_> {
    fn run(mut self) -> Result<Value, PickleError> {
        loop {
            let place = self.place;
            match self.byte()? {
                b'.' => return self.pop(),
                0x80 => drop(self.byte()?), // the protocol: opcodes are what counts
                b'(' => self.marks.push(self.stack.len()),
                b'N' | 0x88 | 0x89 => self.stack.push(Value::Other),
                b'G' => {
                    self.take(8)?;
                    self.stack.push(Value::Other);
                }
                b'J' => {
                    let value = i32::from_le_bytes(self.array()?);
                    self.stack.push(Value::Whole(value.into()));
                }
                b'K' => {
                    let value = self.byte()?;
                    self.stack.push(Value::Whole(value.into()));
                }
                b'M' => {
                    let value = u16::from_le_bytes(self.array()?);
                    self.stack.push(Value::Whole(value.into()));
                }
                b'X' => {
                    let length = u32::from_le_bytes(self.array()?) as usize;
                    let text = self.text(length)?;
                    self.stack.push(Value::Text(text));
                }
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.stack.push(Value::Name(format!("{module} {name}").into()));
                }
                b'}' => self.stack.push(Value::Dictionary(Vec::new())),
                b')' | b']' => self.list(Vec::new())?,
                b't' => {
                    let items = self.since_mark()?;
                    self.list(items)?;
                }
                opcode @ 0x85..=0x87 => {
                    let mut items = Vec::new();
                    for _ in 0x85..=opcode {
                        items.push(self.pop()?);
                    }
                    items.reverse();
                    self.list(items)?;
                }
                b'q' => {
                    let number = self.byte()?;
                    self.remember(number.into())?;
                }
                b'r' => {
                    let number = u32::from_le_bytes(self.array()?);
                    self.remember(number)?;
                }
                b'h' => {
                    let number = self.byte()?;
                    self.recall(number.into())?;
                }
                b'j' => {
                    let number = u32::from_le_bytes(self.array()?);
                    self.recall(number)?;
                }
                b's' => {
                    let (value, key) = (self.pop()?, self.pop()?);
                    self.set(vec![key, value])?;
                }
                b'u' => {
                    let items = self.since_mark()?;
                    self.set(items)?;
                }
                b'Q' => self.storage()?,
                b'R' => self.call()?,
                // Attributes of the dictionary: versions of modules, of no use here.
                b'b' => {
                    self.pop()?;
                    self.top_is_dictionary()?;
                }
                opcode => return Err(PickleError::Opcode { opcode, place }),
            }
        }
    }

    fn malformed(&self, what: &'static str) -> PickleError {
        PickleError::Malformed { place: self.place, what }
    }

    fn take(&mut self, length: usize) -> Result<&[u8], PickleError> {
        let place = self.place;
        let end = place.checked_add(length).filter(|end| *end <= self.bytes.len());
        self.place = end.ok_or(PickleError::Truncated { place })?;
        Ok(&self.bytes[place..self.place])
    }

    fn byte(&mut self) -> Result<u8, PickleError> {
        Ok(self.take(1)?[0])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PickleError> {
        Ok(self.take(N)?.try_into().expect("as many bytes as were asked for"))
    }

    fn text(&mut self, length: usize) -> Result<Rc<str>, PickleError> {
        let text = std::str::from_utf8(self.take(length)?).map(Rc::from);
        text.map_err(|_| self.malformed("a text is not UTF-8"))
    }

    fn line(&mut self) -> Result<Rc<str>, PickleError> {
        let rest = &self.bytes[self.place..];
        let length = rest.iter().position(|byte| *byte == b'\n');
        let line = self.text(length.ok_or(PickleError::Truncated { place: self.bytes.len() })?)?;
        self.place += 1;
        Ok(line)
    }

    fn pop(&mut self) -> Result<Value, PickleError> {
        let below = self.marks.last().copied().unwrap_or(0);
        let value = if self.stack.len() > below { self.stack.pop() } else { None };
        value.ok_or_else(|| self.malformed("a value is missing"))
    }

    fn since_mark(&mut self) -> Result<Vec<Value>, PickleError> {
        let mark = self.marks.pop().filter(|mark| *mark <= self.stack.len());
        let mark = mark.ok_or_else(|| self.malformed("a mark is missing"))?;
        Ok(self.stack.split_off(mark))
    }

    fn list(&mut self, items: Vec<Value>) -> Result<(), PickleError> {
        let depth = 1 + items.iter().map(depth).max().unwrap_or(0);
        if depth > MAX_DEPTH {
            return Err(self.malformed("its lists nest too deep"));
        }
        self.stack.push(Value::List(items.into(), depth));
        Ok(())
    }

    /// What is remembered is a copy. A dictionary that is recalled would be an old one, so it is not kept.
    fn remember(&mut self, number: u32) -> Result<(), PickleError> {
        match self.stack.last() {
            None => return Err(self.malformed("there is nothing to remember")),
            Some(Value::Dictionary(_)) => {}
            Some(value) => drop(self.memo.insert(number, value.clone())),
        }
        Ok(())
    }

    fn recall(&mut self, number: u32) -> Result<(), PickleError> {
        let value = self.memo.get(&number).cloned();
        let value = value.ok_or_else(|| self.malformed("a value is recalled that was not remembered"))?;
        self.stack.push(value);
        Ok(())
    }

    fn top_is_dictionary(&mut self) -> Result<&mut Vec<(Value, Value)>, PickleError> {
        let place = self.place;
        match self.stack.last_mut() {
            Some(Value::Dictionary(entries)) => Ok(entries),
            _ => Err(PickleError::Malformed { place, what: "a dictionary is missing" }),
        }
    }

    fn set(&mut self, items: Vec<Value>) -> Result<(), PickleError> {
        if !items.len().is_multiple_of(2) {
            return Err(self.malformed("keys and values do not pair up"));
        }
        if items.iter().any(|item| depth(item) >= MAX_DEPTH) {
            return Err(self.malformed("its dictionaries nest too deep"));
        }
        let entries = self.top_is_dictionary()?;
        let mut items = items.into_iter();
        while let (Some(key), Some(value)) = (items.next(), items.next()) {
            entries.push((key, value));
        }
        Ok(())
    }

    /// ("storage", type, key, device, length).
    fn storage(&mut self) -> Result<(), PickleError> {
        let wrong = self.malformed("a storage is not described as PyTorch does");
        let Value::List(parts, _) = self.pop()? else { return Err(wrong) };
        let [Value::Text(kind), Value::Name(name), Value::Text(key), _, Value::Whole(length)] = &*parts else {
            return Err(wrong);
        };
        let storage = name.strip_prefix(STORAGES).filter(|name| name.ends_with("Storage"));
        let (Some(storage), Ok(length), "storage") = (storage, usize::try_from(*length), &**kind) else {
            return Err(wrong);
        };
        let (storage, key) = (storage.to_owned(), key.to_string());
        let reference = TensorReference { storage, key, length, offset: 0, shape: vec![], strides: vec![] };
        self.stack.push(Value::Storage(reference.into()));
        Ok(())
    }

    fn call(&mut self) -> Result<(), PickleError> {
        let (arguments, callable) = (self.pop()?, self.pop()?);
        let (Value::List(arguments, _), Value::Name(name)) = (arguments, callable) else {
            return Err(self.malformed("something is called that is no name"));
        };
        let value = match &*name {
            DICTIONARY if arguments.is_empty() => Value::Dictionary(Vec::new()),
            TENSOR => tensor(&arguments).ok_or_else(|| self.malformed("a tensor is not described as PyTorch does"))?,
            other => return Err(PickleError::Callable { name: other.replacen(' ', ".", 1) }),
        };
        self.stack.push(value);
        Ok(())
    }
}

/// How deep a value nests, so that nothing recursive can exhaust the stack.
fn depth(value: &Value) -> usize {
    match value {
        Value::List(_, depth) => *depth,
        Value::Dictionary(entries) => {
            1 + entries.iter().flat_map(|(key, value)| [depth(key), depth(value)]).max().unwrap_or(0)
        }
        _ => 0,
    }
}

/// (storage, offset, shape, strides, requires gradient, hooks).
fn tensor(arguments: &[Value]) -> Option<Value> {
    let [Value::Storage(storage), offset, shape, strides, ..] = arguments else { return None };
    let whole = |value: &Value| match value {
        Value::Whole(number) => usize::try_from(*number).ok(),
        _ => None,
    };
    let list = |value: &Value| match value {
        Value::List(items, _) => items.iter().map(whole).collect::<Option<Vec<_>>>(),
        _ => None,
    };
    let (offset, shape, strides) = (whole(offset)?, list(shape)?, list(strides)?);
    Some(Value::Tensor(TensorReference { offset, shape, strides, ..(**storage).clone() }.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_dictionary_comes_back() {
        // {"a": (1, 300), "b": "a"} with the text "a" recalled from the memo.
        let bytes = b"\x80\x02}(X\x01\0\0\0aq\x01K\x01M\x2c\x01\x86X\x01\0\0\0bh\x01u.";
        let text = |text: &str| Value::Text(text.into());
        let pair = Value::List([Value::Whole(1), Value::Whole(300)].into(), 1);
        assert_eq!(read(bytes), Ok(Value::Dictionary(vec![(text("a"), pair), (text("b"), text("a"))])));
    }

    #[test]
    fn what_could_run_is_refused_by_name() {
        let bytes = b"cos\nsystem\n(X\x04\0\0\0exittR.";
        assert_eq!(read(bytes), Err(PickleError::Callable { name: "os.system".into() }));
        assert_eq!(read(b"\x80\x02i"), Err(PickleError::Opcode { opcode: b'i', place: 2 }));
    }

    #[test]
    fn damage_is_named() {
        assert_eq!(read(b""), Err(PickleError::Truncated { place: 0 }));
        assert_eq!(read(b"X\xff\xff\xff\xffab"), Err(PickleError::Truncated { place: 5 }));
        for bytes in [&b"."[..], b"t.", b"h\x01.", b"K\x01b.", b"(K\x01K\x02u.", b"}K\x01R.", b"K\x01Q.", b"q\x01."] {
            assert!(matches!(read(bytes), Err(PickleError::Malformed { .. })), "{bytes:?}");
        }
        let deep = [vec![b')'; 1], vec![0x85; 200], vec![b'.']].concat();
        assert!(matches!(read(&deep), Err(PickleError::Malformed { .. })));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }

        #[test]
        fn no_opcodes_panic(bytes in proptest::collection::vec(proptest::sample::select(&b"(.NKJMXc})t\x85\x86\x87qrhjsuQRb\x01\0\n"[..]), 0..60)) {
            let _ = read(&bytes);
        }
    }
}
