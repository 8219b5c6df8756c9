//! The stack machine: interprets the few opcodes that hold dicts of scalars, handing out each pair as soon as it is complete.

use std::{
    io::{self, BufRead, Read},
    rc::Rc,
};

/// The only class that a Chroma pickle may name.
const CLASS: (&str, &str) = ("chromadb.segment.impl.vector.local_persistent_hnsw", "PersistentData");
/// No id is longer.
const LONGEST: u64 = 1 << 24;
/// What lies on the stack is dicts and one unfinished pair each; more is not Chroma's.
const DEEPEST: usize = 4096;

/// A value without parts.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A float.
    Float(f64),
    /// A string.
    Text(Rc<str>),
}

/// One pair of one dict.
#[derive(Debug, PartialEq)]
pub struct Entry<'a> {
    /// The key under which the dict itself stands in the outer one; None for the outer one.
    pub dict: Option<&'a str>,
    /// The pair's key.
    pub key: &'a Scalar,
    /// The pair's value.
    pub value: &'a Scalar,
}

/// Why a pickle is not one of Chroma's.
#[derive(Debug, thiserror::Error)]
pub enum PickleError {
    /// The file ends before the pickle does: it was truncated, or torn while it was rewritten.
    #[error("the pickle ends early, at byte {at}")]
    EndsEarly {
        /// Bytes read.
        at: u64,
    },
    /// The file cannot be read.
    #[error("the pickle cannot be read")]
    Read(#[source] io::Error),
    /// An opcode that Chroma does not write.
    #[error("opcode {opcode:#04x} at byte {at} is none that Chroma writes")]
    Opcode {
        /// The opcode.
        opcode: u8,
        /// Where.
        at: u64,
    },
    /// A class other than Chroma's own would be constructed. Loading this file with Python could run code.
    #[error("it names the class {module}.{name}; loading it with Python could run code")]
    Class {
        /// Its module.
        module: String,
        /// Its name.
        name: String,
    },
    /// The opcodes make no sense together.
    #[error("it makes no sense at byte {at}: {what}")]
    Nonsense {
        /// Where.
        at: u64,
        /// What was expected.
        what: &'static str,
    },
    /// Bytes follow the pickle.
    #[error("bytes follow its end at byte {at}")]
    Surplus {
        /// Where.
        at: u64,
    },
}

enum Item {
    Scalar(Scalar),
    Dict,
    Mark,
    Tuple,
    Class,
    Object,
}

/// Reads a pickle and calls `each` with every pair of scalars in it. Memory: the longest string, and for the pickles of 0.x,
/// whose second map refers back to the strings of the first, all ids.
pub fn read(input: impl BufRead, each: impl FnMut(Entry<'_>)) -> Result<(), PickleError> {
    Machine { input, at: 0, stack: Vec::new(), memo: Vec::new(), each }.run()
}

struct Machine<R, F> {
    input: R,
    at: u64,
    stack: Vec<Item>,
    /// Only strings are ever referred back to; dicts and the object keep their places.
    memo: Vec<Option<Rc<str>>>,
    each: F,
}

impl<R: BufRead, F: FnMut(Entry<'_>)> Machine<R, F> {
    fn run(mut self) -> Result<(), PickleError> {
        loop {
            let opcode = self.byte()?;
            match opcode {
                b'.' => break,
                0x80 => drop(self.byte()?),
                0x95 => drop(self.bytes::<8>()?),
                b'}' => self.push(Item::Dict)?,
                b'(' => self.push(Item::Mark)?,
                b')' => self.push(Item::Tuple)?,
                b'N' => self.scalar(Scalar::None)?,
                0x88 => self.scalar(Scalar::Bool(true))?,
                0x89 => self.scalar(Scalar::Bool(false))?,
                b'J' => {
                    let number = i32::from_le_bytes(self.bytes()?);
                    self.scalar(Scalar::Int(number.into()))?;
                }
                b'K' => {
                    let number = self.byte()?;
                    self.scalar(Scalar::Int(number.into()))?;
                }
                b'M' => {
                    let number = u16::from_le_bytes(self.bytes()?);
                    self.scalar(Scalar::Int(number.into()))?;
                }
                0x8a => self.long()?,
                b'G' => {
                    let number = f64::from_be_bytes(self.bytes()?);
                    self.scalar(Scalar::Float(number))?;
                }
                0x8c => {
                    let length = self.byte()?;
                    self.text(length.into())?;
                }
                b'X' => {
                    let length = u32::from_le_bytes(self.bytes()?);
                    self.text(length.into())?;
                }
                0x8d => {
                    let length = u64::from_le_bytes(self.bytes()?);
                    self.text(length)?;
                }
                0x94 => self.memoize(self.memo.len())?,
                b'q' => {
                    let slot = self.byte()?;
                    self.memoize(slot.into())?;
                }
                b'r' => {
                    let slot = u32::from_le_bytes(self.bytes()?);
                    self.memoize(slot as usize)?;
                }
                b'h' => {
                    let slot = self.byte()?;
                    self.recall(slot.into())?;
                }
                b'j' => {
                    let slot = u32::from_le_bytes(self.bytes()?);
                    self.recall(slot as usize)?;
                }
                b's' => self.set_item()?,
                b'u' => self.set_items()?,
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.class(&module, &name)?;
                }
                0x93 => self.class_from_stack()?,
                0x81 => self.new_object()?,
                b'b' => self.build()?,
                opcode => return Err(PickleError::Opcode { opcode, at: self.at }),
            }
        }
        match self.stack.as_slice() {
            [Item::Dict | Item::Object] => {}
            _ => return Err(self.nonsense("one dict or one object at the end")),
        }
        match self.input.fill_buf() {
            Ok([]) => Ok(()),
            Ok(_) => Err(PickleError::Surplus { at: self.at }),
            Err(error) => Err(PickleError::Read(error)),
        }
    }

    fn nonsense(&self, what: &'static str) -> PickleError {
        PickleError::Nonsense { at: self.at, what }
    }

    fn fill(&mut self, into: &mut [u8]) -> Result<(), PickleError> {
        let at = self.at;
        self.input.read_exact(into).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => PickleError::EndsEarly { at },
            _ => PickleError::Read(error),
        })?;
        self.at += into.len() as u64;
        Ok(())
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], PickleError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn byte(&mut self) -> Result<u8, PickleError> {
        Ok(self.bytes::<1>()?[0])
    }

    fn line(&mut self) -> Result<String, PickleError> {
        let mut line = Vec::new();
        (&mut self.input).take(256).read_until(b'\n', &mut line).map_err(PickleError::Read)?;
        self.at += line.len() as u64;
        match line.pop() {
            Some(b'\n') => String::from_utf8(line).map_err(|_| self.nonsense("a name in UTF-8")),
            _ => Err(PickleError::EndsEarly { at: self.at }),
        }
    }

    fn long(&mut self) -> Result<(), PickleError> {
        let length = usize::from(self.byte()?);
        if length > 8 {
            return Err(self.nonsense("a number of 64 bits at most"));
        }
        let mut bytes = [0; 8];
        self.fill(&mut bytes[..length])?;
        let unused = 64 - 8 * length as u32;
        let number = if length == 0 { 0 } else { i64::from_le_bytes(bytes) << unused >> unused };
        self.scalar(Scalar::Int(number))
    }

    fn text(&mut self, length: u64) -> Result<(), PickleError> {
        if length > LONGEST {
            return Err(self.nonsense("a string of an id's length"));
        }
        let mut bytes = vec![0; length as usize];
        self.fill(&mut bytes)?;
        let text = String::from_utf8(bytes).map_err(|_| self.nonsense("a string in UTF-8"))?;
        self.scalar(Scalar::Text(text.into()))
    }

    fn push(&mut self, item: Item) -> Result<(), PickleError> {
        if self.stack.len() >= DEEPEST {
            return Err(self.nonsense("fewer things at once"));
        }
        self.stack.push(item);
        Ok(())
    }

    fn scalar(&mut self, scalar: Scalar) -> Result<(), PickleError> {
        self.push(Item::Scalar(scalar))?;
        self.hand_out();
        Ok(())
    }

    /// When the pair on top of a dict's mark is complete it is told and forgotten, so that a map of millions needs no room. The
    /// memo opcode that may follow a string is why only pairs that end in something else, or are followed by more, go early:
    /// see [`Machine::memoize`].
    fn hand_out(&mut self) {
        // A string may be memoized by the next opcode and has to be on the stack for it.
        if matches!(self.stack.last(), Some(Item::Scalar(Scalar::Text(_)))) && self.memo_follows() {
            return;
        }
        let [.., Item::Dict, Item::Mark, Item::Scalar(key), Item::Scalar(value)] = self.stack.as_slice()
        else {
            return;
        };
        let dict = match self.stack.as_slice() {
            [.., Item::Scalar(Scalar::Text(name)), Item::Dict, Item::Mark, _, _] => Some(name.clone()),
            _ => None,
        };
        (self.each)(Entry { dict: dict.as_deref(), key, value });
        self.stack.truncate(self.stack.len() - 2);
    }

    fn memo_follows(&mut self) -> bool {
        matches!(self.input.fill_buf(), Ok([0x94 | b'q' | b'r', ..]))
    }

    fn memoize(&mut self, slot: usize) -> Result<(), PickleError> {
        if slot > self.memo.len() {
            return Err(self.nonsense("memo slots in order"));
        }
        let text = match self.stack.last() {
            Some(Item::Scalar(Scalar::Text(text))) => Some(text.clone()),
            Some(_) => None,
            None => return Err(self.nonsense("something to memoize")),
        };
        if slot == self.memo.len() {
            self.memo.push(text)
        } else {
            self.memo[slot] = text
        }
        self.hand_out();
        Ok(())
    }

    fn recall(&mut self, slot: usize) -> Result<(), PickleError> {
        let Some(Some(text)) = self.memo.get(slot) else {
            return Err(self.nonsense("a string that was memoized"));
        };
        self.scalar(Scalar::Text(text.clone()))
    }

    /// `dict key value SETITEM`, which Python writes for dicts of one pair.
    fn set_item(&mut self) -> Result<(), PickleError> {
        match self.stack.as_slice() {
            [.., Item::Dict, Item::Scalar(_), Item::Scalar(_)] => {
                let mark = self.stack.len() - 2;
                self.stack.insert(mark, Item::Mark);
                self.hand_out();
                self.stack.pop();
                Ok(())
            }
            [.., Item::Dict, Item::Scalar(_), Item::Dict] => {
                self.stack.truncate(self.stack.len() - 2);
                Ok(())
            }
            _ => Err(self.nonsense("a pair for a dict")),
        }
    }

    /// What is left above the mark are pairs whose values are dicts, told already pair by pair.
    fn set_items(&mut self) -> Result<(), PickleError> {
        loop {
            match self.stack.as_slice() {
                [.., Item::Dict, Item::Mark] => {
                    self.stack.pop();
                    return Ok(());
                }
                [.., Item::Scalar(Scalar::Text(_)), Item::Dict] => {
                    self.stack.truncate(self.stack.len() - 2);
                }
                // A pair of scalars that stands above a pair with a dict was not on top of the mark when it was complete.
                [.., Item::Scalar(key), Item::Scalar(value)] => {
                    let dict = open_dict_name(&self.stack);
                    (self.each)(Entry { dict: dict.as_deref(), key, value });
                    self.stack.truncate(self.stack.len() - 2);
                }
                _ => return Err(self.nonsense("pairs for a dict")),
            }
        }
    }

    fn class_from_stack(&mut self) -> Result<(), PickleError> {
        let (Some(Item::Scalar(Scalar::Text(name))), Some(Item::Scalar(Scalar::Text(module)))) =
            (self.stack.pop(), self.stack.pop())
        else {
            return Err(self.nonsense("the name of a class"));
        };
        self.class(&module, &name)
    }

    fn class(&mut self, module: &str, name: &str) -> Result<(), PickleError> {
        if (module, name) != CLASS {
            return Err(PickleError::Class { module: module.to_owned(), name: name.to_owned() });
        }
        self.push(Item::Class)
    }

    fn new_object(&mut self) -> Result<(), PickleError> {
        match (self.stack.pop(), self.stack.pop()) {
            (Some(Item::Tuple), Some(Item::Class)) => self.push(Item::Object),
            _ => Err(self.nonsense("a class and no arguments")),
        }
    }

    fn build(&mut self) -> Result<(), PickleError> {
        match self.stack.as_slice() {
            [.., Item::Object, Item::Dict] => {
                self.stack.pop();
                Ok(())
            }
            _ => Err(self.nonsense("an object and its dict")),
        }
    }
}

/// The key under which the dict that is being filled stands in the outer one.
fn open_dict_name(stack: &[Item]) -> Option<Rc<str>> {
    let mark = stack.iter().rposition(|item| matches!(item, Item::Mark))?;
    match stack.get(mark.checked_sub(2)?)? {
        Item::Scalar(Scalar::Text(name)) => Some(name.clone()),
        _ => None,
    }
}
