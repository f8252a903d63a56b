//! The slice language: NumPy's basic indexing, `'10:20, :, ::-2, ..., 3'`.
//!
//! Source of the rules: <https://numpy.org/doc/stable/user/basics.indexing.html> and Python's `slice.indices`.

use std::fmt;

use crate::{Error, Result};

/// A parsed slice string, not yet held against a shape.
///
/// One item per axis, separated by commas, the rows first: `start:stop:step` with any part left out, negative values
/// counted from the end and a negative step going backwards; an integer, which drops the axis; `...` once, for as many
/// whole axes as are missing. Axes that are not named are whole.
///
/// ```
/// use hyperslab_core::Selection;
/// let selection = Selection::parse("10:20, ..., -1")?.normalize(&[1000, 28, 28])?;
/// assert_eq!(selection.shape(), [10, 28]);
/// assert_eq!(Selection::parse("::-2")?.normalize(&[5])?.axes[0].positions().collect::<Vec<_>>(), [4, 2, 0]);
/// # Ok::<(), hyperslab_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Selection {
    text: String,
    items: Vec<Item>,
}

/// One item of a slice string, and the byte it starts at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Item {
    at: usize,
    kind: ItemKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum ItemKind {
    Integer(i64),
    Slice { start: Option<i64>, stop: Option<i64>, step: i64 },
    Ellipsis,
}

/// One axis of a [`NormalizedSelection`]: positions `start, start + step, …`, `len` of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AxisSelection {
    /// The first position, counted from 0; meaningless when `len` is 0.
    pub start: usize,
    /// The distance to the next position; never 0.
    pub step: isize,
    /// How many positions.
    pub len: usize,
    /// Whether an integer selected the position, so that the axis is dropped from the result.
    pub dropped: bool,
}

/// A selection held against a shape: one [`AxisSelection`] per axis.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NormalizedSelection {
    /// One entry per axis of the shape.
    pub axes: Vec<AxisSelection>,
}

impl Selection {
    /// Parses a slice string.
    ///
    /// # Errors
    /// `Invalid`, naming the text and the position.
    pub fn parse(text: &str) -> Result<Self> {
        let mut parser = Parser { text, rest: text };
        let mut items: Vec<Item> = Vec::new();
        loop {
            let item = parser.item()?;
            if item.kind == ItemKind::Ellipsis && items.iter().any(|i| i.kind == ItemKind::Ellipsis) {
                return Err(invalid(text, item.at, "'...' may stand only once"));
            }
            items.push(item);
            if !parser.eat(",") && !parser.at_end() {
                return Err(parser.unexpected("',' or the end"));
            }
            // A comma may also end the text.
            if parser.at_end() {
                return Ok(Self { text: text.to_owned(), items });
            }
        }
    }

    /// What the selection says of the first of `axes` axes, as a selection of that axis alone. Messages still show the
    /// whole text.
    ///
    /// ```
    /// use hyperslab_core::Selection;
    /// let selection = Selection::parse("..., 2, 3")?;
    /// assert_eq!(selection.first_axis(2).normalize(&[5])?.axes[0].start, 2);
    /// assert_eq!(selection.first_axis(3).normalize(&[5])?.shape(), [5]);
    /// # Ok::<(), hyperslab_core::Error>(())
    /// ```
    #[must_use]
    pub fn first_axis(&self, axes: usize) -> Self {
        let named = self.items.iter().filter(|i| i.kind != ItemKind::Ellipsis).count();
        // With every axis named, an ellipsis stands for none.
        let first = self.items.iter().find(|i| named < axes || i.kind != ItemKind::Ellipsis);
        Self { text: self.text.clone(), items: first.copied().into_iter().collect() }
    }

    /// Holds the selection against a shape, by NumPy's rules.
    ///
    /// # Errors
    /// `Invalid` for more axes than the shape has, or an integer out of range.
    pub fn normalize(&self, shape: &[usize]) -> Result<NormalizedSelection> {
        let named = self.items.iter().filter(|i| i.kind != ItemKind::Ellipsis).count();
        let Some(missing) = shape.len().checked_sub(named) else {
            // The item that is one too many.
            let mut items = self.items.iter().filter(|i| i.kind != ItemKind::Ellipsis);
            let at = items.nth(shape.len()).map_or(0, |i| i.at);
            let message = format!("{} named, and the array has {} (shape {shape:?})", axes(named), axes(shape.len()));
            return Err(invalid(&self.text, at, &message));
        };
        let mut selected = Vec::with_capacity(shape.len());
        for item in &self.items {
            // `...` takes the next axes whole, and may stand for none.
            let length = shape.get(selected.len()).copied();
            match (item.kind, length) {
                (ItemKind::Integer(i), Some(n)) => {
                    let axis = selected.len();
                    let found = AxisSelection::integer(i, n);
                    selected.push(found.ok_or_else(|| {
                        let message = format!("{i} is out of range for axis {axis}, whose length is {n}");
                        invalid(&self.text, item.at, &message)
                    })?);
                }
                (ItemKind::Slice { start, stop, step }, Some(n)) => {
                    selected.push(AxisSelection::slice(start, stop, step, n));
                }
                (ItemKind::Ellipsis, _) => {
                    let next = shape.iter().skip(selected.len()).take(missing);
                    selected.extend(next.map(|&n| AxisSelection::whole(n)));
                }
                (_, None) => {}
            }
        }
        let rest = shape.iter().skip(selected.len());
        selected.extend(rest.map(|&n| AxisSelection::whole(n)));
        Ok(NormalizedSelection { axes: selected })
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn axes(n: usize) -> String {
    format!("{n} {}", if n == 1 { "axis" } else { "axes" })
}

/// An error at byte `at` of `text`; characters are counted from 1.
fn invalid(text: &str, at: usize, message: &str) -> Error {
    let character = text.get(..at).map_or(0, |before| before.chars().count()) + 1;
    Error::invalid(format!("slice {text:?}, character {character}: {message}"))
}

struct Parser<'a> {
    text: &'a str,
    rest: &'a str,
}

impl Parser<'_> {
    /// The byte of the next token.
    fn at(&mut self) -> usize {
        self.rest = self.rest.trim_start();
        self.text.len() - self.rest.len()
    }

    fn at_end(&mut self) -> bool {
        self.at() == self.text.len()
    }

    fn eat(&mut self, token: &str) -> bool {
        self.at();
        let after = self.rest.strip_prefix(token);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    fn unexpected(&mut self, wanted: &str) -> Error {
        let at = self.at();
        let found = self.rest.chars().next().map_or("the end".to_owned(), |c| format!("{c:?}"));
        invalid(self.text, at, &format!("{wanted} is expected, not {found}"))
    }

    fn item(&mut self) -> Result<Item> {
        let at = self.at();
        if self.eat("...") {
            return Ok(Item { at, kind: ItemKind::Ellipsis });
        }
        let start = self.integer()?;
        if !self.eat(":") {
            let wanted = "an integer, 'start:stop:step' or '...'";
            let i = start.ok_or_else(|| self.unexpected(wanted))?;
            return Ok(Item { at, kind: ItemKind::Integer(i) });
        }
        let stop = self.integer()?;
        let mut step = 1;
        if self.eat(":") {
            let at = self.at();
            step = self.integer()?.unwrap_or(1);
            if step == 0 {
                return Err(invalid(
                    self.text,
                    at,
                    "the step is 0; give 1 or more, or a negative step to go backwards",
                ));
            }
        }
        Ok(Item { at, kind: ItemKind::Slice { start, stop, step } })
    }

    fn integer(&mut self) -> Result<Option<i64>> {
        let at = self.at();
        let sign = if self.eat("-") {
            "-"
        } else if self.eat("+") {
            "+"
        } else {
            ""
        };
        self.at();
        let length = self.rest.len() - self.rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (digits, rest) = self.rest.split_at(length);
        if digits.is_empty() {
            return if sign.is_empty() { Ok(None) } else { Err(self.unexpected("a number")) };
        }
        self.rest = rest;
        let number = format!("{sign}{digits}").parse();
        number.map(Some).map_err(|_| invalid(self.text, at, &format!("{sign}{digits} is too large")))
    }
}

impl AxisSelection {
    /// The whole of an axis.
    pub fn whole(length: usize) -> Self {
        Self { start: 0, step: 1, len: length, dropped: false }
    }

    fn integer(i: i64, length: usize) -> Option<Self> {
        let i = i128::from(i);
        let position = if i < 0 { i + length as i128 } else { i };
        let start = usize::try_from(position).ok().filter(|&p| p < length)?;
        Some(Self { start, step: 1, len: 1, dropped: true })
    }

    /// Python's `slice(start, stop, step).indices(length)`.
    fn slice(start: Option<i64>, stop: Option<i64>, step: i64, length: usize) -> Self {
        let (n, step) = (length as i128, i128::from(step));
        let (lower, upper) = if step > 0 { (0, n) } else { (-1, n - 1) };
        let bound = |value: i64| {
            let value = i128::from(value);
            (if value < 0 { value + n } else { value }).clamp(lower, upper)
        };
        let (first, last) = if step > 0 { (lower, upper) } else { (upper, lower) };
        let (start, stop) = (start.map_or(first, bound), stop.map_or(last, bound));
        let distance = if step > 0 { stop - start } else { start - stop };
        let len = if distance > 0 { (distance - 1) / step.abs() + 1 } else { 0 };
        // A step beyond isize reaches one position at most, so that its size does not matter.
        let clamped = step.clamp(isize::MIN as i128, isize::MAX as i128) as isize;
        // All values below are within 0..=length.
        Self { start: if len == 0 { 0 } else { start as usize }, step: clamped, len: len as usize, dropped: false }
    }

    /// Whether every position of an axis of `length` is selected, in order.
    pub fn is_whole(&self, length: usize) -> bool {
        self.len == length && (length == 0 || self.start == 0) && (length <= 1 || self.step == 1)
    }

    /// Whether the positions are consecutive and ascending.
    pub fn is_contiguous(&self) -> bool {
        self.step == 1 || self.len <= 1
    }

    /// The `i`-th position, if there are that many.
    pub fn position(&self, i: usize) -> Option<usize> {
        (i < self.len).then(|| self.start.wrapping_add_signed(self.step.wrapping_mul(i as isize)))
    }

    /// The positions, in order.
    pub fn positions(self) -> impl ExactSizeIterator<Item = usize> {
        (0..self.len).map(move |i| self.start.wrapping_add_signed(self.step.wrapping_mul(i as isize)))
    }
}

impl NormalizedSelection {
    /// The shape of the result: the lengths of the axes that are not dropped.
    pub fn shape(&self) -> Vec<usize> {
        self.axes.iter().filter(|a| !a.dropped).map(|a| a.len).collect()
    }

    /// The number of elements of the result.
    pub fn elements(&self) -> usize {
        // An axis of length 0 may stand beside lengths whose product overflows.
        let empty = self.axes.iter().any(|a| a.len == 0);
        if empty { 0 } else { self.axes.iter().fold(1, |product: usize, a| product.saturating_mul(a.len)) }
    }

    /// Splits a selection over (row, axes…) into that of the rows and that of the cell, for [`copy_cell`](Self::copy_cell).
    /// `None` when there is no axis at all.
    pub fn split_rows(&self) -> Option<(AxisSelection, Self)> {
        let (rows, cell) = self.axes.split_first()?;
        Some((*rows, Self { axes: cell.to_vec() }))
    }

    /// Whether every element of `shape` (the axes of this selection) is selected, in order, so that the bytes of a
    /// selected cell are the cell's own. An axis of length 1 that is dropped is whole in this sense.
    pub fn is_whole(&self, shape: &[usize]) -> bool {
        is_whole(&self.axes, shape)
    }

    /// Copies the selected elements of one C-order cell of `shape` (the axes of this selection) and
    /// `item` bytes per element from `from` to the end of `to`.
    ///
    /// Many rows are copied in one call by giving the row axis, too: `from` is then the rows, and `shape` begins with
    /// their number.
    ///
    /// ```
    /// use hyperslab_core::Selection;
    /// let shape = [2, 3];
    /// let mut column = vec![];
    /// Selection::parse(":, -1")?.normalize(&shape)?.copy_cell(&shape, 1, b"abcdef", &mut column);
    /// assert_eq!(column, b"cf");
    /// # Ok::<(), hyperslab_core::Error>(())
    /// ```
    ///
    /// # Panics
    /// When `from` is shorter than `shape` says, or the selection was normalized for another shape.
    pub fn copy_cell(&self, shape: &[usize], item: usize, from: &[u8], to: &mut Vec<u8>) {
        to.reserve(self.elements() * item);
        if self.elements() != 0 {
            copy(&self.axes, shape, item, from, to);
        }
    }
}

fn is_whole(axes: &[AxisSelection], shape: &[usize]) -> bool {
    axes.len() == shape.len() && axes.iter().zip(shape).all(|(a, &n)| a.is_whole(n))
}

/// [`NormalizedSelection::copy_cell`] for a selection that is not empty.
fn copy(axes: &[AxisSelection], shape: &[usize], item: usize, from: &[u8], to: &mut Vec<u8>) {
    let (Some((axis, inner)), Some((_, inner_shape))) = (axes.split_first(), shape.split_first()) else {
        to.extend_from_slice(&from[..item]);
        return;
    };
    let run = item * inner_shape.iter().product::<usize>();
    if !is_whole(inner, inner_shape) {
        for position in axis.positions() {
            copy(inner, inner_shape, item, &from[position * run..][..run], to);
        }
    } else if axis.is_contiguous() {
        to.extend_from_slice(&from[axis.start * run..][..axis.len * run]);
    } else {
        // A run of constant size compiles to plain loads and stores.
        match run {
            1 => copy_runs::<1>(*axis, from, to),
            2 => copy_runs::<2>(*axis, from, to),
            4 => copy_runs::<4>(*axis, from, to),
            8 => copy_runs::<8>(*axis, from, to),
            16 => copy_runs::<16>(*axis, from, to),
            _ => axis.positions().for_each(|p| to.extend_from_slice(&from[p * run..][..run])),
        }
    }
}

fn copy_runs<const N: usize>(axis: AxisSelection, from: &[u8], to: &mut Vec<u8>) {
    let start = to.len();
    to.resize(start + axis.len * N, 0);
    for (target, position) in to[start..].chunks_exact_mut(N).zip(axis.positions()) {
        target.copy_from_slice(&from[position * N..][..N]);
    }
}

#[cfg(test)]
mod tests;
