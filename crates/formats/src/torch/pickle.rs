//! A machine that runs a pickle and imports nothing: what it may call is a list of names, each of which makes a plain
//! value here.
//!
//! Source of the opcodes: <https://github.com/python/cpython/blob/main/Lib/pickletools.py>, protocols 2 to 5.

use std::borrow::Cow;
use std::collections::HashMap;

use hyperslab_core::{Error, Result};

use super::globals::{Global, call};
use super::tensor::{Storage, Tensor};

/// As many objects as a pickle may make; a tensor takes about 15.
const MAX_OBJECTS: usize = 10_000_000;

/// The number of an object.
pub(super) type Id = u32;

/// A value of Python.
#[derive(Debug, Clone)]
pub(super) enum Object<'a> {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Cow<'a, str>),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Global),
    Storage(Storage),
    Tensor(Box<Tensor>),
    /// Something that holds no tensor: bytes, a set, a device.
    Other,
}

/// The objects that a pickle makes. They refer to each other by number, so that a cycle is no trouble.
#[derive(Debug, Default)]
pub(super) struct Objects<'a>(Vec<Object<'a>>);

impl<'a> Objects<'a> {
    pub(super) fn get(&self, id: Id) -> &Object<'a> {
        self.0.get(id as usize).unwrap_or(&Object::None)
    }

    fn add(&mut self, object: Object<'a>) -> Result<Id> {
        if self.0.len() >= MAX_OBJECTS {
            return Err(Error::unsupported(format!("its pickle makes more than {MAX_OBJECTS} objects")));
        }
        self.0.push(object);
        Ok((self.0.len() - 1) as Id)
    }
}

/// Runs a pickle. Returns its objects and which of them is the result.
///
/// # Errors
/// `Unsupported` for anything that is called or imported and is not in the list, naming it; `Corrupt` for what is no
/// pickle.
pub(super) fn run(pickle: &[u8]) -> Result<(Objects<'_>, Id)> {
    let mut machine = Machine { rest: pickle, length: pickle.len(), ..Machine::default() };
    loop {
        let at = machine.length - machine.rest.len();
        match machine.step() {
            Ok(None) => {}
            Ok(Some(result)) => return Ok((machine.objects, result)),
            Err(Stop::Damaged) => {
                return Err(Error::corrupt(format!(
                    "its pickle is damaged at byte {at} of {}; copy or download the file again",
                    machine.length
                )));
            }
            Err(Stop::Error(e)) => return Err(e),
        }
    }
}

/// Why the machine does not go on.
enum Stop {
    Damaged,
    Error(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

type Step<T> = std::result::Result<T, Stop>;

#[derive(Default)]
struct Machine<'a> {
    rest: &'a [u8],
    length: usize,
    objects: Objects<'a>,
    stack: Vec<Id>,
    /// How long the stack was at each mark.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl<'a> Machine<'a> {
    /// Runs one opcode; the result of the last.
    fn step(&mut self) -> Step<Option<Id>> {
        match self.byte()? {
            // PROTO and FRAME.
            0x80 => {
                let version = self.byte()?;
                if !(2..=5).contains(&version) {
                    let why = format!("its pickle has protocol {version}; save it again with protocol 2 to 5");
                    return Err(Error::unsupported(why).into());
                }
            }
            0x95 => _ = self.take(8)?,
            b'.' => return Ok(Some(self.pop()?)),
            opcode => {
                let done = self.constant(opcode)? || self.collection(opcode)? || self.memory(opcode)?;
                if !done && !self.action(opcode)? {
                    return Err(Stop::Damaged);
                }
            }
        }
        Ok(None)
    }

    /// Opcodes that push a plain value.
    fn constant(&mut self, opcode: u8) -> Step<bool> {
        let object = match opcode {
            b'N' => Object::None,
            0x88 => Object::Bool(true),
            0x89 => Object::Bool(false),
            b'K' => Object::Int(self.byte()?.into()),
            b'M' => Object::Int(u16::from_le_bytes(self.array()?).into()),
            b'J' => Object::Int(i32::from_le_bytes(self.array()?).into()),
            0x8a => {
                let length = self.byte()?.into();
                int(self.take(length)?)
            }
            0x8b => {
                let length = self.length(4)?;
                int(self.take(length)?)
            }
            b'G' => Object::Float(f64::from_be_bytes(self.array()?)),
            0x8c => self.text(1)?,
            b'X' => self.text(4)?,
            0x8d => self.text(8)?,
            // Texts of Python 2, and bytes.
            b'U' => self.text(1)?,
            b'T' => self.text(4)?,
            b'C' => self.bytes(1)?,
            b'B' => self.bytes(4)?,
            0x8e | 0x96 => self.bytes(8)?,
            b')' => Object::Tuple(Vec::new()),
            b']' => Object::List(Vec::new()),
            b'}' => Object::Dict(Vec::new()),
            0x8f => Object::Other,
            _ => return Ok(false),
        };
        self.push(object)?;
        Ok(true)
    }

    /// Opcodes that put several values into one.
    fn collection(&mut self, opcode: u8) -> Step<bool> {
        match opcode {
            b'(' => self.marks.push(self.stack.len()),
            b't' => {
                let items = self.pop_mark()?;
                self.push(Object::Tuple(items))?;
            }
            0x85..=0x87 => {
                let from = self.stack.len().checked_sub(usize::from(opcode) - 0x84).ok_or(Stop::Damaged)?;
                self.check_mark(from)?;
                let items = self.stack.split_off(from);
                self.push(Object::Tuple(items))?;
            }
            b'l' => {
                let items = self.pop_mark()?;
                self.push(Object::List(items))?;
            }
            b'd' => {
                let items = pairs(&self.pop_mark()?)?;
                self.push(Object::Dict(items))?;
            }
            b'a' => {
                let item = self.pop()?;
                self.extend_list(&[item])?;
            }
            b'e' => {
                let items = self.pop_mark()?;
                self.extend_list(&items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.extend_dict(&[(key, value)])?;
            }
            b'u' => {
                let items = pairs(&self.pop_mark()?)?;
                self.extend_dict(&items)?;
            }
            // Of sets, which hold no tensors.
            0x90 => _ = self.pop_mark()?,
            0x91 => {
                self.pop_mark()?;
                self.push(Object::Other)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Opcodes that move values around.
    fn memory(&mut self, opcode: u8) -> Step<bool> {
        match opcode {
            b'0' => _ = self.pop()?,
            b'1' => _ = self.pop_mark()?,
            b'2' => self.stack.push(self.top()?),
            b'q' => {
                let to = self.byte()?.into();
                self.memo.insert(to, self.top()?);
            }
            b'r' => {
                let to = u32::from_le_bytes(self.array()?);
                self.memo.insert(to, self.top()?);
            }
            0x94 => {
                let to = self.memo.len() as u32;
                self.memo.insert(to, self.top()?);
            }
            b'h' => {
                let from = self.byte()?.into();
                self.recall(from)?;
            }
            b'j' => {
                let from = u32::from_le_bytes(self.array()?);
                self.recall(from)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Opcodes that in Python import and call: here they make one of the known objects.
    fn action(&mut self, opcode: u8) -> Step<bool> {
        match opcode {
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Object::Global(Global::find(&module, &name)?))?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Object::Text(module), Object::Text(name)) = (self.objects.get(module), self.objects.get(name))
                else {
                    return Err(Stop::Damaged);
                };
                let global = Global::find(module, name)?;
                self.push(Object::Global(global))?;
            }
            // REDUCE and NEWOBJ: a callable and its arguments.
            b'R' | 0x81 => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                let (Object::Global(global), Object::Tuple(arguments)) =
                    (self.objects.get(callable), self.objects.get(arguments))
                else {
                    return Err(Stop::Damaged);
                };
                let made = call(&self.objects, global, arguments)?;
                self.push(made)?;
            }
            // BUILD: attributes of an OrderedDict or a tensor, which are left out. Nothing else has any here.
            b'b' => {
                self.pop()?;
                let target = self.top()?;
                if !matches!(self.objects.get(target), Object::Dict(_) | Object::Tensor(_) | Object::Other) {
                    return Err(Stop::Damaged);
                }
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = Storage::of_id(&self.objects, self.objects.get(id))?;
                self.push(Object::Storage(storage))?;
            }
            // INST, OBJ, NEWOBJ_EX, EXT, text of protocol 0, buffers out of band: torch.save writes none of them.
            b'i' | b'o' | 0x92 | 0x82..=0x84 | b'I' | b'L' | b'F' | b'S' | b'V' | b'P' | b'p' | b'g' | 0x97 | 0x98 => {
                let why = format!("its pickle has opcode {opcode:#04x}, which torch.save does not write");
                return Err(Error::unsupported(format!("{why}; save the tensors again with torch.save")).into());
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn take(&mut self, length: usize) -> Step<&'a [u8]> {
        let (part, rest) = self.rest.split_at_checked(length).ok_or(Stop::Damaged)?;
        self.rest = rest;
        Ok(part)
    }

    fn array<const N: usize>(&mut self) -> Step<[u8; N]> {
        let (part, rest) = self.rest.split_first_chunk().ok_or(Stop::Damaged)?;
        self.rest = rest;
        Ok(*part)
    }

    fn byte(&mut self) -> Step<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// A little-endian length of so many bytes.
    fn length(&mut self, bytes: usize) -> Step<usize> {
        let length = self.take(bytes)?.iter().rev().fold(0_u64, |n, &b| n << 8 | u64::from(b));
        usize::try_from(length).map_err(|_| Stop::Damaged)
    }

    fn text(&mut self, length_bytes: usize) -> Step<Object<'a>> {
        let length = self.length(length_bytes)?;
        Ok(Object::Text(String::from_utf8_lossy(self.take(length)?)))
    }

    fn bytes(&mut self, length_bytes: usize) -> Step<Object<'a>> {
        let length = self.length(length_bytes)?;
        self.take(length)?;
        Ok(Object::Other)
    }

    fn line(&mut self) -> Step<Cow<'a, str>> {
        let end = self.rest.iter().position(|&b| b == b'\n').ok_or(Stop::Damaged)?;
        let line = self.take(end)?;
        self.byte()?;
        Ok(String::from_utf8_lossy(line))
    }

    fn push(&mut self, object: Object<'a>) -> Step<()> {
        self.stack.push(self.objects.add(object)?);
        Ok(())
    }

    /// Nothing below a mark is reached before its items are taken.
    fn check_mark(&self, from: usize) -> Step<()> {
        if self.marks.last().is_some_and(|&mark| from < mark) { Err(Stop::Damaged) } else { Ok(()) }
    }

    fn pop(&mut self) -> Step<Id> {
        self.check_mark(self.stack.len().saturating_sub(1))?;
        self.stack.pop().ok_or(Stop::Damaged)
    }

    fn top(&self) -> Step<Id> {
        self.stack.last().copied().ok_or(Stop::Damaged)
    }

    fn pop_mark(&mut self) -> Step<Vec<Id>> {
        let mark = self.marks.pop().ok_or(Stop::Damaged)?;
        Ok(self.stack.split_off(mark))
    }

    fn recall(&mut self, from: u32) -> Step<()> {
        self.stack.push(*self.memo.get(&from).ok_or(Stop::Damaged)?);
        Ok(())
    }

    fn extend_list(&mut self, items: &[Id]) -> Step<()> {
        let list = self.top()? as usize;
        match self.objects.0.get_mut(list) {
            Some(Object::List(list)) => list.extend_from_slice(items),
            // A set of protocol 2 is called with a list; what others append to is not known.
            _ => return Err(Stop::Damaged),
        }
        Ok(())
    }

    fn extend_dict(&mut self, items: &[(Id, Id)]) -> Step<()> {
        let dict = self.top()? as usize;
        match self.objects.0.get_mut(dict) {
            Some(Object::Dict(dict)) => dict.extend_from_slice(items),
            _ => return Err(Stop::Damaged),
        }
        Ok(())
    }
}

/// A little-endian whole number of any length; beyond 64 bits it is none that is looked at.
fn int<'a>(bytes: &[u8]) -> Object<'a> {
    let negative = bytes.last().is_some_and(|&b| b >= 0x80);
    let fill = if negative { 0xff } else { 0 };
    let mut wide = [fill; 8];
    if bytes.len() > 8 && bytes[8..].iter().any(|&b| b != fill) || bytes.len() > 8 && (bytes[7] >= 0x80) != negative {
        return Object::Other;
    }
    wide.iter_mut().zip(bytes).for_each(|(w, b)| *w = *b);
    Object::Int(i64::from_le_bytes(wide))
}

fn pairs(items: &[Id]) -> Step<Vec<(Id, Id)>> {
    match items.as_chunks::<2>() {
        (pairs, []) => Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect()),
        _ => Err(Stop::Damaged),
    }
}
